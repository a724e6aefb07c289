"""Networks that commands share: reading a toy network from its files takes longer than copying it."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from flashbulb.audit.model import loading

_MAX_BYTES = 4_000_000  # of the files of a toy network
_N_KEPT = 24


@contextmanager
def read_once() -> Iterator[None]:
    """Read no network whose files were read before; that of other files, or of files that changed, is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_network", _remember(loading.load_network))
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
        return deepcopy(_read(load, folder, network_class, dtype, allow_pickle, content.hexdigest()))

    return remembered


@lru_cache(_N_KEPT)
def _read(
    load: Callable[..., Any], folder: Path, network_class: Any, dtype: torch.dtype, allow_pickle: bool, _content: str
) -> Any:
    return load(folder, network_class, dtype, allow_pickle)
