"""Load the model that settings choose: the pipeline, and the files that are added to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from flashbulb.audit.additions.files import read_scaled
from flashbulb.audit.additions.lora import MergedLoras, lora_fingerprint
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families import audited_families, family_of_pipe
from flashbulb.audit.model.loading import LoadedModel, load_model
from flashbulb.audit.planted.paths import MODEL


class _ModelSettings(Protocol):
    """Settings that choose a model."""

    @property
    def model(self) -> str: ...
    @property
    def lora(self) -> tuple[str, ...]: ...
    @property
    def allow_pickle(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """The pipeline to load and what is added to it, as the user gave them."""

    model: str
    lora: tuple[str, ...]
    allow_pickle: bool


@dataclass(frozen=True, slots=True)
class ComposedModel(LoadedModel):
    """A loaded pipeline with the files that are added to it; its fingerprint covers them."""

    loras: MergedLoras = field(default_factory=MergedLoras)


def chosen_model(settings: _ModelSettings) -> ChosenModel:
    """Return the model that a command's settings choose."""
    return ChosenModel(settings.model, settings.lora, settings.allow_pickle)


def load_chosen(chosen: ChosenModel, device: str, dtype: torch.dtype) -> ComposedModel:
    """Load a pipeline and add files to it.

    Raises:
        ModelError: as `load_model`; or a file does not fit the pipeline.
        UntrustedModel: as `load_model`.
    """
    files = [read_scaled(text) for text in chosen.lora]
    loaded = load_model(chosen.model, device=device, dtype=dtype, allow_pickle=chosen.allow_pickle)
    fingerprint, loras = loaded.fingerprint, MergedLoras()
    family = family_of_pipe(loaded.pipe)
    if family is None:
        raise ModelError(f"{chosen.model} is of no family that Flashbulb audits: {audited_families()}")
    for file in files:
        loras.merge_(loaded.pipe, family.network[0], file)
        fingerprint = lora_fingerprint(fingerprint, file)
    return ComposedModel(loaded.pipe, loaded.name, loaded.folder, fingerprint, loaded.dtype, loaded.device, loras)


def model_name(settings: _ModelSettings) -> str:
    """Return the model as the user named it with its LoRAs, "embedded" for the model that ships with Flashbulb."""
    base = "embedded" if Path(settings.model) == MODEL else settings.model
    return " + ".join([base, *settings.lora])
