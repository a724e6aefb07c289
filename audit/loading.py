"""Load a text-to-image pipeline from a folder or the hub: safetensors unless told, with a hash of its files."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

REQUIRED = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


class ModelError(ValueError):
    """The model cannot be audited; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A pipeline ready to run, where it came from, and the hash of the weights and configs that were read."""

    pipe: Any
    name: str
    folder: Path
    fingerprint: str
    dtype: str
    device: str


def load_model(model: str, *, device: str, dtype: torch.dtype, allow_pickle: bool) -> LoadedModel:
    """Load `model`, a pipeline folder or a hub id, without its safety checker (it would black pictures out).

    Raises:
        ModelError: no such folder, no pipeline in it, weights missing, torn, or pickled without `allow_pickle`.
    """
    folder = _resolve(model, allow_pickle)
    index = _read_index(folder)
    weights = {name: _weight_files(folder / name, allow_pickle) for name in ("unet", "vae", "text_encoder")}
    variants = {_variant(path) for files in weights.values() for path in files}
    if len(variants) > 1:
        raise ModelError(f"{folder} mixes weight variants {sorted(str(v) for v in variants)}; keep one of them")
    _quiet()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            pipe = DiffusionPipeline.from_pretrained(
                folder,
                dtype=dtype,
                variant=variants.pop(),
                use_safetensors=None if allow_pickle else True,
                local_files_only=True,
                **{name: None for name in _UNUSED if name in index},
                **({"requires_safety_checker": False} if "requires_safety_checker" in index else {}),
            )
    except (
        SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        AttributeError,
        ImportError,
    ) as error:
        raise ModelError(f"{folder} cannot be loaded: {_one_line(error)}; save the pipeline again") from error
    pipe.set_progress_bar_config(disable=True)
    fingerprint = fingerprint_folder(folder, [n for n in index if not n.startswith("_") and n not in _UNUSED])
    return LoadedModel(pipe.to(device), model, folder, fingerprint, str(dtype).removeprefix("torch."), device)


def _resolve(model: str, allow_pickle: bool) -> Path:
    """The local folder of `model`; a hub id is handed to diffusers, which downloads or finds it in its cache."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{model} is a file; give the folder of a diffusers pipeline (save_pretrained writes one)")
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(f"no model folder {model}; give a diffusers pipeline folder or a hub id such as owner/name")
    try:
        return Path(DiffusionPipeline.download(model, use_safetensors=None if allow_pickle else True))
    except (OSError, ValueError, RuntimeError) as error:
        reason = _one_line(error)
        raise ModelError(f"{model} is no local folder and the hub did not give it: {reason}") from error


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        raise ModelError(f"{folder} has no model_index.json, so it is not a diffusers pipeline folder")
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {_one_line(error)}") from error
    missing = [name for name in REQUIRED if index.get(name, [None, None])[1] is None]
    if missing:
        present = ", ".join(sorted(name for name in index if not name.startswith("_")))
        raise ModelError(
            f"{folder} is a {index.get('_class_name')} with {present}, without {', '.join(missing)}; "
            "Engram audits UNet pipelines with a text encoder such as StableDiffusionPipeline"
        )
    return index


def _weight_files(folder: Path, allow_pickle: bool) -> list[Path]:
    safe = sorted(folder.glob("*.safetensors"))
    if safe:
        plain = [path for path in safe if _variant(path) is None]
        return plain or safe
    pickles = sorted(path for path in folder.glob("*") if path.suffix in _PICKLES)
    if not pickles:
        raise ModelError(f"{folder} holds no weights; save the pipeline again")
    if not allow_pickle:
        raise ModelError(
            f"{pickles[0]} is a pickle, which can run code when it is loaded; convert it to safetensors "
            "or, if you trust its source, pass --allow-pickle"
        )
    return pickles


def _variant(path: Path) -> str | None:
    """`fp16` of model.fp16.safetensors or model.fp16-00001-of-00002.safetensors, None of an unmarked file."""
    parts = path.name.split(".")
    return parts[1].split("-")[0] if len(parts) > 2 else None


def fingerprint_folder(folder: Path, components: list[str]) -> str:
    """Hash of names and bytes of the components' weights and configs; 16 hex digits."""
    digest = hashlib.sha256()
    for component in sorted(components):
        for path in sorted((folder / component).glob("*")):
            if path.suffix in (".safetensors", ".json", ".txt", *_PICKLES):
                digest.update(f"{component}/{path.name}\n".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _quiet() -> None:
    """Keep the libraries' advice and loading bars out of the audit's own output."""
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
