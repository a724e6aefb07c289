"""Refuse settings and inputs that contradict each other, before the model is asked anything."""

from __future__ import annotations

from audit.calibration import MIN_REFERENCE
from audit.config import AuditSettings, ModelSettings, SettingsError
from audit.prompts import PromptSet
from audit.recording import estimate_bytes
from audit.results import Inputs
from hooks import PROMPT_SITE_KINDS


def check_settings(settings: AuditSettings, candidates: PromptSet, reference: PromptSet | None) -> None:
    """Everything that an audit refuses before it loads the model."""
    if settings.calibration is None:
        check_reference_size(reference or candidates)
    check_training_images(settings)
    check_tiers(settings)
    check_strategies(settings)


def check_reference_size(reference: PromptSet) -> None:
    if len(reference.prompts) < MIN_REFERENCE:
        raise SettingsError(
            f"calibration needs at least {MIN_REFERENCE} distinct prompts, {reference.source} has "
            f"{len(reference.prompts)}; give more with --reference"
        )


def check_tiers(settings: AuditSettings) -> None:
    if settings.tiers == "full":
        return
    if settings.reference is None and settings.calibration is None:
        raise SettingsError("--tiers screened learns from a reference; give --reference or --calibration")
    if not PROMPT_SITE_KINDS.intersection(settings.sites):
        raise SettingsError(f"--tiers screened needs one of --sites {', '.join(sorted(PROMPT_SITE_KINDS))}")


def check_strategies(settings: AuditSettings) -> None:
    """Every strategy that was chosen has what it needs."""
    if "sample" not in settings.strategies:
        raise SettingsError("--strategy: every ladder starts with sample; add it")
    if "known_image" in settings.strategies and settings.train_images is None:
        raise SettingsError("--strategy known_image pulls at training pictures; give --train-images")
    if "ascend" in settings.strategies and settings.ascend_kind not in settings.sites:
        raise SettingsError(
            f"--strategy ascend climbs {settings.ascend_kind} neurons; add --sites {settings.ascend_kind}, "
            "or leave ascend out with --strategy sample"
        )


def check_store_size(inputs: Inputs) -> None:
    """Refuse to fill a disk: dense activations of a large model and many prompts run into terabytes."""
    settings = inputs.settings
    to_record = [p for p in (inputs.candidates, None if inputs.saved else inputs.reference) if p is not None]
    n_prompts = sum(len(prompts.prompts) for prompts in to_record)
    gib = estimate_bytes(inputs.sites, settings.n_seeds, n_prompts) / 2**30
    if gib > settings.max_store_gib:
        raise SettingsError(
            f"recording {n_prompts} prompts would take up to {gib:.1f} GiB, the limit is {settings.max_store_gib:g}; "
            "use --sites feed_forward, fewer --seeds or fewer prompts, or raise --max-store-gib"
        )


def check_training_images(settings: ModelSettings) -> None:
    source = settings.train_images
    if source is not None and not source.exists():
        raise SettingsError(f"no {source}; give --train-images a folder, a .tar or an index of training pictures")
    if (settings.descriptor is None) != (settings.descriptor_weights is None):
        raise SettingsError("--descriptor and --descriptor-weights belong together; give both or neither")
    if settings.descriptor is not None and source is None:
        raise SettingsError("--descriptor compares with training pictures; give --train-images")
