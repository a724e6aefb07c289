"""Load one network of a pipeline folder: all of its weights, from safetensors unless pickles are asked for."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from flashbulb.audit.model.errors import ModelError

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
LOADING_ERRORS = (  # raised by the libraries for files that are missing, torn, of another class or of another shape
    SafetensorError,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
    ImportError,
)


def load_network(folder: Path, entry: tuple[str, str], dtype: torch.dtype, allow_pickle: bool) -> Any:
    """Load a network; refuse it if no file holds one of its weights, which the libraries would leave random."""
    weights = _choose_weights(folder, allow_pickle)
    library, class_name = entry
    network_class: Any = getattr(_LIBRARIES.get(library), class_name, None)
    if network_class is None:
        raise ModelError(
            f"{folder} is of class {library}.{class_name}; only classes of diffusers and transformers are run"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            network, report = network_class.from_pretrained(
                folder,
                dtype=dtype,
                variant=weights.variant,
                use_safetensors=weights.use_safetensors,
                local_files_only=True,
                output_loading_info=True,
            )
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder} cannot be loaded: {one_line(error)}; save the pipeline again") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(f"{folder} lacks {len(missing)} weights, first {missing[0]}; save the pipeline again")
    return network


class _Weights(NamedTuple):
    variant: str | None
    use_safetensors: bool


def _choose_weights(folder: Path, allow_pickle: bool) -> _Weights:
    """Prefer safetensors to pickles, and files without a variant to a variant such as fp16."""
    safe = sorted(folder.glob("*.safetensors"))
    files = safe or sorted(path for path in folder.glob("*") if path.suffix in PICKLES)
    if not files:
        raise ModelError(f"{folder} holds no weights; save the pipeline again")
    if not safe and not allow_pickle:
        raise ModelError(
            f"{files[0]} is a pickle, which can run code when it is loaded; convert it to safetensors "
            "or, if you trust its source, pass --allow-pickle"
        )
    variants = {_variant(path) for path in files}
    variant = None if None in variants else min(filter(None, variants))
    return _Weights(variant, bool(safe))


def _variant(path: Path) -> str | None:
    """Return `fp16` for model.fp16.safetensors or model.fp16-00001-of-00002.safetensors, None without a variant."""
    parts = path.name.split(".")
    return parts[1].split("-")[0] if len(parts) > 2 else None


def one_line(error: BaseException) -> str:
    """Return an error of a library as part of a line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else text[:297] + "..."
