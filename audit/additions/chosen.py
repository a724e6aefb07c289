"""Load the model that settings choose: the pipeline, and the files that are added to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import torch

from flashbulb.audit.additions.autoencoder import autoencoder_fingerprint, find_autoencoder, replace_autoencoder_
from flashbulb.audit.additions.files import combined_fingerprint, read_scaled
from flashbulb.audit.additions.gguf_file import find_gguf, load_gguf
from flashbulb.audit.additions.lora import MergedLoras, lora_fingerprint
from flashbulb.audit.additions.released import KINDS, is_tokenizer
from flashbulb.audit.additions.single_file import SingleFile, open_single_file
from flashbulb.audit.additions.textual_inversion import add_token_, read_named
from flashbulb.audit.model.errors import ModelError, refusing
from flashbulb.audit.model.families import audited_families, family_of_pipe, find_families
from flashbulb.audit.model.loading.pipelines import LoadedModel, load_model, resolve_device, resolve_dtype
from flashbulb.audit.planted.paths import MODEL
from flashbulb.hooks.offload import Offload, offload_
from flashbulb.reports.tables.stores import as_uri


class _ModelSettings(Protocol):
    """Settings that choose a model."""

    @property
    def model(self) -> str: ...
    @property
    def configs(self) -> Path | None: ...
    @property
    def denoiser(self) -> Path | None: ...
    @property
    def vae(self) -> Path | None: ...
    @property
    def textual_inversion(self) -> tuple[str, ...]: ...
    @property
    def lora(self) -> tuple[str, ...]: ...
    @property
    def allow_pickle(self) -> bool: ...
    @property
    def offload(self) -> Offload | None: ...


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """The pipeline to load and what is added to it, as the user gave them, and where its weights lie."""

    model: str
    configs: Path | None = None
    denoiser: Path | None = None
    vae: Path | None = None
    textual_inversion: tuple[str, ...] = ()
    lora: tuple[str, ...] = ()
    allow_pickle: bool = False
    offload: Offload | None = None


@dataclass(frozen=True, slots=True)
class ComposedModel(LoadedModel):
    """A loaded pipeline with the files that are added to it; its fingerprint covers them.

    Args:
        unadapted: fingerprint without the LoRAs.
    """

    unadapted: str
    loras: MergedLoras = field(default_factory=MergedLoras)


def chosen_model(settings: _ModelSettings) -> ChosenModel:
    """Return the model that a command's settings choose."""
    added = (settings.configs, settings.denoiser, settings.vae, settings.textual_inversion, settings.lora)
    return ChosenModel(settings.model, *added, settings.allow_pickle, settings.offload)


def base_model(settings: _ModelSettings, base: str) -> ChosenModel:
    """Return the model that a fine-tune was trained from: `base` without what is added to the fine-tune."""
    configs = settings.configs if Path(base).expanduser().is_file() else None
    return ChosenModel(base, configs, allow_pickle=settings.allow_pickle, offload=settings.offload)


def only_adds_loras(settings: _ModelSettings, base: str) -> bool:
    """Return whether the audited model is `base`, however its path is spelled, with nothing but LoRAs added.

    Offloaded weights are moved by others, so LoRAs are not switched off in them: the base is then another model.
    """
    if not settings.lora or settings.denoiser or settings.vae or settings.textual_inversion or settings.offload:
        return False
    own, other = (Path(name).expanduser() for name in (settings.model, base))
    return own.samefile(other) if own.exists() and other.exists() else settings.model == base


def load_chosen(chosen: ChosenModel, device: str, dtype: str) -> ComposedModel:
    """Load a pipeline, add files to it, and offload it if that is chosen.

    Args:
        device, dtype: as settings name them.

    Raises:
        ModelError: as `load_model`; there is no such device; a file does not fit the pipeline; or it cannot be
            offloaded.
        UntrustedModel: as `load_model`.
    """
    device = resolve_device(device)
    files = [read_scaled(text) for text in chosen.lora]
    inversions = [read_named(text) for text in chosen.textual_inversion]
    autoencoder = None if chosen.vae is None else find_autoencoder(chosen.vae)
    if chosen.offload is not None:
        _check_offload(chosen.offload, device)
    loaded = _load_base(chosen, device if chosen.offload is None else "cpu", resolve_dtype(dtype, device))
    fingerprint, loras = loaded.fingerprint, MergedLoras()
    family = family_of_pipe(loaded.pipe)
    if family is None:
        raise ModelError(f"{chosen.model} is of no family that Flashbulb audits: {audited_families()}")
    if autoencoder is not None:
        replace_autoencoder_(loaded.pipe, autoencoder, family.classes["vae"], chosen.allow_pickle)
        fingerprint = autoencoder_fingerprint(fingerprint, autoencoder)
    for named in inversions:
        token = add_token_(loaded.pipe, family.tokenizers, named)
        fingerprint = combined_fingerprint(fingerprint, named.path, "textual inversion", token)
    unadapted = fingerprint
    for file in files:
        loras.merge_(loaded.pipe, family.network[0], file)
        fingerprint = lora_fingerprint(fingerprint, file)
    if chosen.offload is not None:
        with refusing(loaded.folder):
            offload_(loaded.pipe, device, chosen.offload)
    return ComposedModel(loaded.pipe, chosen.model, loaded.folder, fingerprint, loaded.dtype, device, unadapted, loras)


def _check_offload(how: Offload, device: str) -> None:
    """Refuse to offload where there is nothing to save, or without the library that does it.

    Raises:
        ModelError: says which.
    """
    if torch.device(device).type == "cpu":
        raise ModelError(f"--offload {how} saves memory of an accelerator, and the device is the cpu; leave it out")
    if find_spec("accelerate") is None:
        raise ModelError(f"--offload {how} needs accelerate, which is not installed; pip install 'flashbulb[offload]'")


def _load_base(chosen: ChosenModel, device: str, dtype: torch.dtype) -> LoadedModel:
    """Load the pipeline: a folder or hub id, or a single file with its configs."""
    path = Path(chosen.model).expanduser()
    if not path.is_file():
        return _load_folder(chosen, device, dtype)
    if path.suffix == ".gguf":
        raise ModelError(
            f"{chosen.model} holds the denoiser alone; give the folder of its pipeline as model, and the file with "
            "--denoiser"
        )
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{chosen.model} is no .safetensors file; convert it, or give the folder of a diffusers pipeline "
            "(save_pretrained writes one)"
        )
    if chosen.denoiser is not None:
        raise ModelError(f"--denoiser belongs to a pipeline folder, and {chosen.model} is a file; give the folder")
    with open_single_file(path) as single, _configs_of(single, chosen.configs) as configs:
        loaded = load_model(
            str(configs), device=device, dtype=dtype, allow_pickle=False, networks=lambda _: single.load_network
        )
    return replace(loaded, fingerprint=combined_fingerprint(loaded.fingerprint, path, "single file"))


def _load_folder(chosen: ChosenModel, device: str, dtype: torch.dtype) -> LoadedModel:
    """Load a folder or hub id, all of it or all but the denoiser."""
    if chosen.configs is not None:
        raise ModelError(f"--model-config belongs to a single file, and {chosen.model} is none; leave it out")
    load = partial(load_model, chosen.model, device=device, dtype=dtype, allow_pickle=chosen.allow_pickle)
    if chosen.denoiser is None:
        return load()
    path = find_gguf(chosen.denoiser)
    loaders = {family.network[0]: partial(load_gguf, path) for family in find_families()}
    loaded = load(networks=loaders.get)
    return replace(loaded, fingerprint=combined_fingerprint(loaded.fingerprint, path, "denoiser"))


@contextmanager
def _configs_of(single: SingleFile, given: Path | None) -> Iterator[Path]:
    """Yield the folder of a checkpoint's configs: the given one, or one written from those that come with Flashbulb.

    Args:
        given: folder of a pipeline or of a tokenizer, or one of `KINDS`.
    """
    is_tokenizer_folder = given is not None and is_tokenizer(given)
    if given is not None and given.is_dir() and not is_tokenizer_folder:
        yield given
        return
    if given is not None and not is_tokenizer_folder and str(given) not in KINDS:
        raise ModelError(f"--model-config {given} is neither a folder nor one of {', '.join(KINDS)}")
    with TemporaryDirectory() as target:
        kind = single.find_kind() if given is None or is_tokenizer_folder else str(given)
        yield single.write_configs(kind, given if is_tokenizer_folder else None, Path(target))


def model_name(settings: _ModelSettings) -> str:
    """Return the model and what is added to it as the user named them; "embedded" is Flashbulb's own model."""
    base = "embedded" if Path(settings.model) == MODEL else as_uri(settings.model)
    files = [as_uri(path) for path in (settings.denoiser, settings.vae) if path is not None]
    return " + ".join([base, *files, *settings.textual_inversion, *settings.lora])
