"""Look at the base of a fine-tune, and compare it with the audited model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from flashbulb.audit.additions.chosen import ComposedModel, base_model, load_chosen
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading import resolve_device
from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.stages.examine import examine_model
from flashbulb.audit.stages.results.state import AuditedModel
from flashbulb.hooks import Site


class Base(NamedTuple):
    """What is compared of a base model; it is not kept in memory beside the audited one."""

    model: AuditedModel
    family: str
    sites: tuple[Site, ...]


def look_at_base(settings: AuditSettings, name: str, dtype: torch.dtype, prompts: Sequence[str]) -> Base:
    """Load and examine the base, and let go of it."""
    device = resolve_device(settings.device)
    return _look(settings, load_chosen(base_model(settings, name), device, dtype), prompts)


def look_without_loras(settings: AuditSettings, loaded: ComposedModel, prompts: Sequence[str]) -> Base:
    """Examine the base of a model that is the base with LoRAs, in place."""
    with loaded.loras.scaled(0):
        return _look(settings, loaded, prompts)


def _look(settings: AuditSettings, loaded: ComposedModel, prompts: Sequence[str]) -> Base:
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    examine_model(settings, denoiser, prompts)
    model = AuditedModel(loaded.unadapted, loaded.dtype, loaded.device)
    return Base(model, denoiser.title, denoiser.sites(denoiser.site_kinds()))


def compare_with_base(settings: AuditSettings, denoiser: Denoiser, model: AuditedModel, base: Base) -> None:
    """Refuse a base that is the same model, or whose neurons are not those of the audited model.

    Raises:
        SettingsError: says which.
    """
    name = settings.baseline_model
    if base.model.fingerprint == model.fingerprint:
        raise SettingsError(
            f"--baseline-model {name} is the model itself (fingerprint {model.fingerprint}), to which nothing was "
            "added; give the model that it was fine-tuned from"
        )
    way_out = "give the model that it was fine-tuned from"
    if base.family != denoiser.title:
        raise SettingsError(f"--baseline-model {name} is {base.family}, the model is {denoiser.title}; {way_out}")
    own, of_base = (
        {site.name: site for site in sites} for sites in (denoiser.sites(denoiser.site_kinds()), base.sites)
    )
    other = next((site for site in {**own, **of_base} if own.get(site) != of_base.get(site)), None)
    if other is not None:
        widths = [f"{sites[other].n_neurons} neurons" if other in sites else "none" for sites in (own, of_base)]
        raise SettingsError(
            f"--baseline-model {name} has other neurons than the model: at {other} it has {widths[1]}, the model has "
            f"{widths[0]}; {way_out}"
        )
