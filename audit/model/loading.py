"""Load a text-to-image pipeline from a folder or the hub, and hash its files. Pickles are loaded only on request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError, UntrustedModel
from flashbulb.audit.model.families import audited_families, family_of
from flashbulb.audit.model.weights import LOADING_ERRORS, PICKLES, load_network, one_line

_UNUSED = ("safety_checker", "feature_extractor")  # the safety checker would replace some images with black ones
_VOCABULARIES = ("tokenizer.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A pipeline that is ready to run.

    Args:
        name: folder or hub id, as the user gave it.
        folder: where its files are.
        fingerprint: hash of its weights and configs.
        dtype: "float32", "float16" or "bfloat16".
    """

    pipe: Any
    name: str
    folder: Path
    fingerprint: str
    dtype: str
    device: str


def load_model(model: str, *, device: str, dtype: torch.dtype, allow_pickle: bool) -> LoadedModel:
    """Load `model`, a pipeline folder or a hub id, without its safety checker.

    Raises:
        ModelError: there is no such folder or no pipeline in it; weights are missing, torn, incomplete, or pickled
            without `allow_pickle`; or there is no such device.
    """
    _silence_libraries()
    folder = _resolve(model, allow_pickle)
    index = _read_index(folder)
    family = _family_of(folder, index)
    encoders = [name for name in family.tokenizers if _is_class(index.get(name))]
    for name in encoders:
        _check_vocabulary(folder / family.tokenizers[name])
    weighted = (family.network[0], "vae", *encoders)
    networks = {name: load_network(folder / name, index[name], dtype, allow_pickle) for name in weighted}
    try:
        pipe = _pipeline_class(index, family).from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=None if allow_pickle else True,
            local_files_only=True,
            **networks,
            **{name: None for name, entry in index.items() if name in _UNUSED or entry == [None, None]},
            **({"requires_safety_checker": False} if "requires_safety_checker" in index else {}),
        )
    except LOADING_ERRORS as error:
        raise ModelError(f"{folder} cannot be loaded: {one_line(error)}; save the pipeline again") from error
    _check_sample_size(folder / family.network[0], getattr(pipe, family.network[0]))
    pipe.set_progress_bar_config(disable=True)
    for name in encoders:
        _fit_tokenizer_(folder / family.tokenizers[name], getattr(pipe, family.tokenizers[name]), getattr(pipe, name))
    fingerprint = fingerprint_folder(folder, [n for n in index if not n.startswith("_") and n not in _UNUSED])
    try:
        pipe.to(device)
    except (AssertionError, RuntimeError) as error:  # torch asserts that it was built with CUDA
        raise ModelError(f"{model} cannot be moved to device {device}: {one_line(error)}") from error
    return LoadedModel(pipe, model, folder, fingerprint, str(dtype).removeprefix("torch."), device)


def _resolve(model: str, allow_pickle: bool) -> Path:
    """Return the local folder of `model`; diffusers downloads a hub id or finds it in its cache."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{model} is a file; give the folder of a diffusers pipeline (save_pretrained writes one)")
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(f"no model folder {model}; give a diffusers pipeline folder or a hub id such as owner/name")
    try:
        unused = dict.fromkeys(_UNUSED)
        return Path(DiffusionPipeline.download(model, use_safetensors=None if allow_pickle else True, **unused))
    except (OSError, ValueError, RuntimeError) as error:
        reason = one_line(error.__cause__ or error)  # diffusers wraps the error of the connection
        raise ModelError(f"{model} is not a local folder, and the hub did not provide it: {reason}") from error


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        raise ModelError(f"{folder} has no model_index.json, so it is not a diffusers pipeline folder")
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(index, dict):
        raise ModelError(f"{path} holds no JSON object, so it is not the index of a diffusers pipeline")
    return index


def _family_of(folder: Path, index: dict[str, Any]) -> type[Denoiser]:
    family = family_of(index)
    present = ", ".join(sorted(name for name, entry in index.items() if _is_class(entry)))
    if family is None:
        classes = [".".join(index[name]) for name in ("unet", "transformer") if _is_class(index.get(name))]
        denoiser = f"whose denoiser is {classes[0]}" if classes else "without a denoiser"
        raise ModelError(
            f"{folder} is a {index.get('_class_name')} with {present}, {denoiser}, of no family that Flashbulb audits: "
            f"{audited_families()}"
        )
    missing = [name for name in family.required if not _is_class(index.get(name))]
    if missing:
        raise ModelError(
            f"{folder} is a {index.get('_class_name')} with {present}, without {', '.join(missing)}; "
            f"Flashbulb audits {family.title} with all of {', '.join(family.required)}"
        )
    return family


def _pipeline_class(index: Mapping[str, Any], family: type[Denoiser]) -> Any:
    """Return the family's text-to-image class, whatever task the folder was saved by.

    A ControlNet is left out, and so is guidance that stacks more than two halves. A folder of custom code, or with text
    encoders that the family has not, keeps its own class.
    """
    name = index.get("_class_name")
    is_known = isinstance(name, str) and hasattr(diffusers, name)
    has_more = any(part.startswith("text_encoder") and part not in family.tokenizers for part in index)
    return getattr(diffusers, family.pipeline) if is_known and not has_more else DiffusionPipeline


def _is_class(entry: Any) -> bool:
    """Return whether an entry of the index is a [library, class] pair; an absent component is [null, null]."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)


def _check_sample_size(folder: Path, network: Any) -> None:
    """Refuse a size that is not the saved one: diffusers replaces those below 64 of files tagged by old versions."""
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("sample_size")
    now = network.config.get("sample_size")
    if saved is not None and (list(now) if isinstance(now, tuple) else now) != saved:
        raise UntrustedModel(
            f"{folder / 'config.json'} says sample_size {saved}, and diffusers made it {now} because an old version "
            "tagged the file (_diffusers_version); save the model again, or correct one of the two"
        )


def _check_vocabulary(folder: Path) -> None:
    # transformers makes a tokenizer without words from an empty folder; every prompt would then have the same tokens
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelError(f"{folder} holds no vocabulary ({', '.join(_VOCABULARIES)}); save the pipeline again")


def _fit_tokenizer_(folder: Path, tokenizer: Any, encoder: Any) -> None:
    """Limit prompts to the positions of the text encoder; a tokenizer without a length would pad to 1e30 tokens.

    Refuses a tokenizer with tokens that its text encoder has no vector for.
    """
    max_length = tokenizer.model_max_length
    tokenizer.model_max_length = min(max_length, getattr(encoder.config, "max_position_embeddings", max_length))
    n_vectors = encoder.get_input_embeddings().num_embeddings
    beyond = sorted(token for token, number in tokenizer.get_vocab().items() if number >= n_vectors)
    if beyond:
        raise ModelError(
            f"{folder} has {len(beyond)} tokens that the text encoder has no vector for, first {beyond[0]!r}; resize "
            "the text encoder's token embeddings and save the pipeline again, or remove the tokens"
        )


def fingerprint_folder(folder: Path, components: list[str]) -> str:
    """Hash the index, and the names and bytes of the components' weights and configs; return 16 hex digits."""
    digest = hashlib.sha256((folder / "model_index.json").read_bytes())
    for component in sorted(components):
        for path in sorted((folder / component).glob("*")):
            if path.suffix in (".safetensors", ".json", ".txt", ".model", *PICKLES) and path.is_file():
                digest.update(f"{component}/{path.name}\n".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _silence_libraries() -> None:
    """Keep the libraries' advice and loading bars out of the audit's output."""
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormals to zero inside the block; the setting applies to the complete process."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
