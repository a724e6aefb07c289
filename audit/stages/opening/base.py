"""Look at the base of a fine-tune, and compare it with the audited model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from flashbulb.audit.additions.chosen import ComposedModel, base_model, load_chosen
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.prompts.held import HeldPrompts
from flashbulb.audit.record.prompt_sites import PromptSites
from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.stages.opening.examine import examine_model
from flashbulb.audit.stages.results.state import AuditedModel
from flashbulb.audit.statistics.screening import TextSpikes, read_spikes
from flashbulb.hooks import PROMPT_SITE_KINDS, Site
from flashbulb.reports.tables.differences import first_difference

logger = logging.getLogger(__name__)


class Prompts(NamedTuple):
    """The prompts of an audit, for what is read of a base before it is recorded."""

    candidates: HeldPrompts
    reference: HeldPrompts

    def texts(self) -> tuple[list[str], list[str]]:
        """Return the texts of both."""
        return self.candidates.texts, self.reference.texts


class TextSide(NamedTuple):
    """What tier 0 needs of a base: its spikes, and a hash of the weights that make them."""

    spikes: TextSpikes
    sha256: str


class Base(NamedTuple):
    """What is compared of a base model; it is not kept in memory beside the audited one."""

    model: AuditedModel
    family: str
    sites: tuple[Site, ...]
    schedule: Mapping[str, Any]
    text_side: TextSide | None


def look_at_base(settings: AuditSettings, name: str, prompts: Prompts) -> Base:
    """Load and examine the base, and let go of it."""
    return _look(settings, load_chosen(base_model(settings, name), settings.device, settings.dtype), prompts)


def look_without_loras(settings: AuditSettings, loaded: ComposedModel, prompts: Prompts) -> Base:
    """Examine the base of a model that is the base with LoRAs, in place."""
    with loaded.loras.off():
        return _look(settings, loaded, prompts)


def _look(settings: AuditSettings, loaded: ComposedModel, prompts: Prompts) -> Base:
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    examine_model(settings, denoiser, *prompts.texts())
    model = AuditedModel(loaded.unadapted, loaded.dtype, loaded.device)
    text_side = _read_text_side(settings, denoiser, prompts) if settings.tiers == "screened" else None
    return Base(model, denoiser.title, denoiser.sites(denoiser.site_kinds()), denoiser.schedule, text_side)


def _read_text_side(settings: AuditSettings, denoiser: Denoiser, prompts: Prompts) -> TextSide | None:
    sites = _text_sites(settings, denoiser)
    if not sites:
        return None  # the model, of the same family, is refused for it
    spikes = read_spikes(
        PromptSites(denoiser, sites),
        prompts.reference,
        prompts.candidates,
        n_components=settings.n_components,
        batch_size=settings.latents_per_call,
    )
    return TextSide(spikes, denoiser.hash_text_side(sites))


def _text_sites(settings: AuditSettings, denoiser: Denoiser) -> tuple[Site, ...]:
    kinds = PROMPT_SITE_KINDS.intersection(settings.sites, denoiser.site_kinds())
    return denoiser.sites(sorted(kinds)) if kinds else ()


def refuse_same_text_side(settings: AuditSettings, denoiser: Denoiser, text_side: TextSide) -> None:
    """Refuse to screen by differences where training changed nothing that reads the prompt alone.

    Raises:
        SettingsError: all differences would be zero.
    """
    if denoiser.hash_text_side(_text_sites(settings, denoiser)) == text_side.sha256:
        raise SettingsError(same_text_side(settings))


def same_text_side(settings: AuditSettings) -> str:
    """Return the line with which a screen by differences of zero is refused."""
    return (
        f"--tiers screened compares how the model and --baseline-model {settings.baseline_model} read prompts, which "
        "they all read alike: training changed neither the text encoders nor the recorded keys and values; give "
        "--tiers full"
    )


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
    own, base_sites = (
        {site.name: site for site in sites} for sites in (denoiser.sites(denoiser.site_kinds()), base.sites)
    )
    other = next((site for site in {**own, **base_sites} if own.get(site) != base_sites.get(site)), None)
    if other is not None:
        widths = [f"{sites[other].n_neurons} neurons" if other in sites else "none" for sites in (own, base_sites)]
        raise SettingsError(
            f"--baseline-model {name} has other neurons than the model: at {other} it has {widths[1]}, the model has "
            f"{widths[0]}; {way_out}"
        )
    warn_of_other_schedule(f"--baseline-model {name}", base.schedule, "the model", denoiser.schedule)


def warn_of_other_schedule(base: str, theirs: Mapping[str, Any], model: str, own: Mapping[str, Any]) -> None:
    """Say that two models are sampled by different schedulers, so that they differ by more than by training."""
    if (difference := first_difference(theirs, own)) is not None:
        logger.warning(
            "%s has %s %r in its scheduler, %s has %r%s: they differ by that as well as by training; give both the "
            "same scheduler",
            *(base, difference.key, difference.old, model, difference.new, difference.others),
        )
