"""Open the safetensors files that add to a model as a stranger's: no pickles, no torn files, no absurd names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from flashbulb.audit.model.errors import ModelError, one_line
from flashbulb.reports.tables.files import sha256_of

_SAFE = ".safetensors"
_MAX_SCALE = 100
_FLOATS = ("F16", "BF16", "F32", "F64")
_N_SHOWN, _LONGEST = 3, 120


class ScaledFile(NamedTuple):
    """A file and how much of it is added."""

    path: Path
    scale: float


def read_scaled(text: str) -> ScaledFile:
    """Read FILE or FILE:SCALE; a file with a colon in its name counts as a file.

    Raises:
        ModelError: the scale is no number within ±100, or there is no such file.
    """
    path, colon, suffix = text.rpartition(":")
    if not colon or Path(text).expanduser().is_file() or "/" in suffix or suffix.endswith(_SAFE):
        return ScaledFile(existing(text, "--lora"), 1.0)
    try:
        scale = float(suffix)
    except ValueError:
        scale = math.nan
    if not abs(scale) <= _MAX_SCALE:
        raise ModelError(f"--lora {text}: {suffix!r} is no scale; give a number from -{_MAX_SCALE} to {_MAX_SCALE}")
    return ScaledFile(existing(path, "--lora"), scale)


def existing(text: str, option: str) -> Path:
    """Return the path of a .safetensors file.

    Raises:
        ModelError: there is none, or it is another kind of file.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise ModelError(f"no file {text}; give {option} a .safetensors file")
    if path.suffix != _SAFE:
        raise ModelError(f"{option} {text} is no .safetensors file, and others can run code; convert it")
    return path


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file.

    Raises:
        ModelError: it is torn or empty.
    """
    try:
        with safe_open(path, framework="pt") as file:
            if not file.keys():
                raise ModelError(f"{path} holds no weights; download or save it again")
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {one_line(error)}; download or save it again") from error


def check_floats(file: Any, path: Path, keys: Iterable[str]) -> None:
    """Refuse tensors that hold whole numbers or numbers of 8 bits."""
    for key in keys:
        if (kind := str(file.get_slice(key).get_dtype())) not in _FLOATS:
            raise ModelError(f"{path} holds {show_names([key])} as {kind}; only float16 to float64 are read")


def read_finite(file: Any, path: Path, key: str) -> torch.Tensor:
    """Return a tensor as float32.

    Raises:
        ModelError: it holds a number that is not finite.
    """
    tensor: torch.Tensor = file.get_tensor(key).float()
    if not tensor.isfinite().all():
        raise ModelError(f"{path} holds numbers that are not finite, first in {show_names([key])}; train it again")
    return tensor


def show_names(names: Sequence[str]) -> str:
    """Return the first names of a file as part of a line."""
    shown = [ascii(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")[1:-1] for name in names[:_N_SHOWN]]
    return ", ".join(shown)


def linear_shape(weight: torch.Tensor) -> tuple[int, ...]:
    """Return the shape without the sides of a 1×1 convolution, which is a linear layer in other versions."""
    return tuple(weight.shape[:2]) if tuple(weight.shape[2:]) == (1, 1) else tuple(weight.shape)


def combined_fingerprint(fingerprint: str, path: Path, *how: object) -> str:
    """Return the fingerprint of a model after a file was added to it in some way; 16 hex digits."""
    parts = [fingerprint, sha256_of(path), *map(repr, how)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
