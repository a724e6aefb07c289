"""Errors of models that cannot be audited or not be trusted, and how those of the libraries become them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from flashbulb.audit.run.shortage import is_out_of_memory

_LOADING_ERRORS = (  # raised by the libraries for files that are missing, torn, of another class or of another shape
    SafetensorError,
    StrictDataclassError,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
    ImportError,
    ArithmeticError,
    AssertionError,
    MemoryError,
)


class ModelError(ValueError):
    """The model cannot be audited; the message says why and what to do."""


class UntrustedModel(RuntimeError):  # noqa: N818
    """The model does not run as it was trained, so nothing that it computes can be trusted."""


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turn what the libraries raise for a damaged component into one line."""
    try:
        yield
    except ModelError:
        raise
    except _LOADING_ERRORS as error:
        way_out = "free memory, or save the pipeline again" if is_out_of_memory(error) else "save the pipeline again"
        raise ModelError(f"{folder} cannot be loaded: {one_line(error)}; {way_out}") from error


def one_line(error: BaseException) -> str:
    """Return an error of a library as part of a line."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
