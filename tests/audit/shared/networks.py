"""Networks that commands share: reading a toy network from its files takes longer than copying it."""

import copy
import hashlib
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from flashbulb.audit.model.loading import pipelines

_MAX_BYTES = 4_000_000  # of the files of a toy network
_N_KEPT = 24


@contextmanager
def read_once() -> Iterator[None]:
    """Read no network whose files were read before; that of other files, or of files that changed, is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, "load_network", _remember(pipelines.load_network))
        yield


def _remember(load: Callable[..., Any]) -> Callable[..., Any]:
    def remembered(folder: Path, network_class: Any, dtype: torch.dtype, allow_pickle: bool) -> Any:
        files = [path for path in sorted(folder.glob("*")) if path.is_file()]
        if sum(path.stat().st_size for path in files) > _MAX_BYTES:
            return load(folder, network_class, dtype, allow_pickle)
        content = hashlib.sha256()
        for path in files:
            content.update(f"{path.name}\n".encode(errors="surrogateescape"))
            content.update(hashlib.sha256(path.read_bytes()).digest())
        return _read(load, folder, network_class, dtype, allow_pickle, content.hexdigest())()

    return remembered


@lru_cache(_N_KEPT)
def _read(
    load: Callable[..., Any], folder: Path, network_class: Any, dtype: torch.dtype, allow_pickle: bool, _content: str
) -> Callable[[], Any]:
    """Read a network; return a function that copies it."""
    network, written = load(folder, network_class, dtype, allow_pickle), io.BytesIO()
    pickler = _Pickler(written)
    try:
        pickler.dump(network)
    except (pickle.PicklingError, AttributeError, TypeError):  # a class of a function, or of a file that was read
        return lambda: copy.deepcopy(network)
    return lambda: _Unpickler(written.getvalue(), pickler.tensors).load()


class _Pickler(pickle.Pickler):
    """Write all but tensors, which are kept: modules are rebuilt several times as fast as `deepcopy` copies them."""

    def __init__(self, out: io.BytesIO) -> None:
        super().__init__(out, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: dict[int, torch.Tensor] = {}

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, torch.Tensor):
            return None
        self.tensors[id(value)] = value
        return id(value)


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, tensors: dict[int, torch.Tensor]) -> None:
        super().__init__(io.BytesIO(content))
        self._tensors, self._copies = tensors, dict[int, Any]()  # tensors that share their values go on sharing them

    def persistent_load(self, key: int) -> torch.Tensor:
        return copy.deepcopy(self._tensors[key], self._copies)
