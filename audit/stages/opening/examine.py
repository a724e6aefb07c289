"""Examine the settings, the prompts and the model of an audit before anything is recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.examination import N_IMAGES, require_working
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.reduction import BULK
from flashbulb.audit.recover.more_seeds import GROWTH
from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.settings.checks import check_combinations
from flashbulb.audit.stages.kept.bulk import kept_neurons
from flashbulb.audit.stages.results.state import Inputs
from flashbulb.audit.statistics.calibration import MIN_REFERENCE
from flashbulb.audit.statistics.reduced import estimate_reduced_bytes
from flashbulb.audit.statistics.scores import MAX_SELF_REFERENCE
from flashbulb.audit.training_images.storage import some_training_images
from flashbulb.hooks import SPACE_REDUCTIONS, TOKEN_REDUCTIONS, Site

logger = logging.getLogger(__name__)


class _Examined(Protocol):
    """Settings of a command that examines its model."""

    @property
    def examine(self) -> bool: ...
    @property
    def train_images(self) -> Path | None: ...


def examine_model(
    settings: _Examined, denoiser: Denoiser, prompts: Sequence[str], reference: Sequence[str] = ()
) -> None:
    """Refuse a model that does not run as it was trained, unless the settings trust it.

    Raises:
        UntrustedModel: says what is wrong, and what would fit.
    """
    if not settings.examine:
        logger.info("not examined whether the model runs as it was trained")
        return
    images = None
    if settings.train_images is not None:
        images = some_training_images(settings.train_images, N_IMAGES, *denoiser.image_size)
    require_working(denoiser, prompts, images, reference)


def check_settings(settings: AuditSettings, candidates: PromptSet, reference: PromptSet | None) -> None:
    """Refuse settings and prompts that an audit cannot use, before the model is loaded."""
    check_combinations(settings)
    if settings.calibration is None:
        check_reference_size(reference or candidates)


def check_sampling(settings: AuditSettings, denoiser: Denoiser) -> None:
    """Refuse steps that the scheduler cannot plan, before anything is recorded, and a budget that pays for nothing.

    Raises:
        ModelError, SettingsError: says which.
    """
    if settings.max_sampled or settings.n_ordinary or settings.canaries is not None:
        denoiser.timesteps(settings.sample_steps)
    check_seed_budget(settings, denoiser)


def check_seed_budget(settings: AuditSettings, denoiser: Denoiser) -> None:
    """Refuse a budget that pays for more seeds of no prompt."""
    if not settings.seed_budget:
        return
    per_image = denoiser.evaluations_per_image(settings.sample_steps, settings.guidance_scale)
    least = (GROWTH - 1) * settings.n_samples * per_image
    if settings.seed_budget < least:
        raise SettingsError(
            f"--seed-budget {settings.seed_budget} does not pay for more seeds of one prompt, which take {least} "
            "denoiser evaluations; give at least as many, or 0 for none"
        )


def check_reference_size(reference: PromptSet) -> None:
    """Refuse too few prompts to calibrate on."""
    if (n := len(reference.prompts)) < MIN_REFERENCE:
        found = f"{reference.source} has {n}" if n == reference.n_distinct else f"{n} of {reference.source} were drawn"
        found += f" that are not audited, and {reference.n_audited} that are" if reference.n_audited else ""
        raise SettingsError(
            f"calibration needs at least {MIN_REFERENCE} distinct prompts, {found}; give more with --reference"
        )


def estimate_activations(inputs: Inputs, n_prompts: int) -> int:
    """Return the bytes of activations of `n_prompts` on every model, before compression."""
    settings, n_reduced = inputs.settings, 0
    if settings.layout == BULK:  # all but the reference and the first candidates, which can be dense
        n_reduced = max(0, len(inputs.candidates.prompts) - MAX_SELF_REFERENCE - settings.shard_size)
    dense = _dense_bytes(inputs.sites, settings.n_seeds, max(n_prompts - n_reduced, 0))
    reduced = min(n_reduced, n_prompts) * estimate_reduced_bytes(inputs.sites, kept_neurons(settings))
    return len(inputs.models) * dense + reduced


def _dense_bytes(sites: Sequence[Site], n_seeds: int, n_prompts: int) -> int:
    """Return the bytes of float16 activations, one row per prompt or per prompt and seed."""
    n_per_prompt = sum(site.n_neurons for site in sites if site.is_prompt_site) * len(TOKEN_REDUCTIONS)
    n_per_step = sum(site.n_neurons for site in sites if not site.is_prompt_site) * len(SPACE_REDUCTIONS)
    return 2 * n_prompts * (n_per_prompt + n_seeds * n_per_step)


def check_store_size(inputs: Inputs) -> None:
    """Refuse a recording above the size limit: activations of a large model and many prompts can take terabytes."""
    settings = inputs.settings
    n_prompts = sum(len(prompts.prompts) for prompts in inputs.sets_to_record.values())
    gib = estimate_activations(inputs, n_prompts) / 2**30
    if gib > settings.max_store_gib:
        bulk = "" if settings.layout == BULK or inputs.base is not None else "--layout bulk, "
        raise SettingsError(
            f"recording {len(inputs.models) * n_prompts} prompts would take up to {gib:.1f} GiB, the limit is "
            f"{settings.max_store_gib:g}; use {bulk}--sites feed_forward, fewer --seeds or fewer prompts, or raise "
            "--max-store-gib"
        )
