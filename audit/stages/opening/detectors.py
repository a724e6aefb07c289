"""Choose the detectors and settings that a model can serve."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from flashbulb.audit.detectors import (
    Detector,
    NeuronDetector,
    StepDetector,
    describe_cost,
    describe_input,
    find_detectors,
)
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.settings import (
    DEFAULT_DETECTORS,
    AuditSettings,
    SettingsError,
    default_strategies,
)
from flashbulb.audit.statistics.scores import SCORED_REDUCTIONS, SOURCE, spike_column
from flashbulb.hooks import PROMPT_SITE_KINDS, SITE_KINDS
from flashbulb.reports.views.audit_plan import offer_line

logger = logging.getLogger(__name__)


def select_detectors(names: Sequence[str], sites: Sequence[str]) -> tuple[Detector, ...]:
    """Return the detectors of these names.

    Raises:
        SettingsError: a name is unknown, or a detector chosen by name reads sites that are not recorded.
    """
    known = find_detectors()
    unknown = [name for name in names if name not in {"all", "none", *known}]
    if unknown:
        raise SettingsError(f"--detectors: {unknown[0]!r} is not one of all, none, {', '.join(known)}")
    wanted = known if "all" in names else [name for name in dict.fromkeys(names) if name != "none"]
    detectors = tuple(known[name] for name in wanted)
    by_name = _are_by_name(names)
    for detector in detectors:
        if by_name and isinstance(detector, NeuronDetector) and detector.kind not in sites:
            raise SettingsError(
                f"--detectors {detector.name} reads {detector.kind} neurons; add --sites {detector.kind}"
            )
    return detectors


def fit_to_model(
    settings: AuditSettings, detectors: tuple[Detector, ...], denoiser: Denoiser
) -> tuple[AuditSettings, tuple[Detector, ...]]:
    """Leave out of the defaults what this model has not; what is chosen by name and missing is refused.

    Raises:
        ModelError, SettingsError: a strategy or a detector is chosen that this model has not.
    """
    changes: dict[str, Any] = {}
    if denoiser.not_offered:
        logger.info(offer_line(denoiser.title, denoiser.not_offered))
    kinds = denoiser.site_kinds()
    if set(settings.sites) == set(SITE_KINDS) != set(kinds):
        changes["sites"] = tuple(kind for kind in settings.sites if kind in kinds)
    offered = tuple(name for name in settings.strategies if name not in denoiser.not_offered)
    if offered != settings.strategies and settings.strategies == default_strategies(dict(settings)):
        changes["strategies"] = offered
    denoiser.require(*changes.get("strategies", settings.strategies))
    fitting = tuple(detector for detector in detectors if _can_read(detector, denoiser, kinds))
    if fitting != detectors:
        left_out = next(detector.name for detector in detectors if detector not in fitting)
        if _are_by_name(settings.detectors):
            raise SettingsError(f"--detectors {left_out} reads what {denoiser.title} has not; leave it out")
        changes["detectors"] = tuple(detector.name for detector in fitting) or ("none",)
    for name, value in changes.items():
        logger.info("%s: %s are %s", denoiser.title, name, ", ".join(value))
    return settings.model_copy(update=changes), fitting


def _can_read(detector: Detector, denoiser: Denoiser, kinds: Sequence[str]) -> bool:
    if isinstance(detector, NeuronDetector):
        return detector.kind in kinds
    layers = denoiser.attention_layers()
    if isinstance(detector, StepDetector):
        return detector.reads_attention is None or bool(detector.reads_attention(layers))
    if detector.reads_up_blocks and not denoiser.first_up_convolutions():
        return False
    return not detector.reads_attention or bool(layers)


def _are_by_name(names: Sequence[str]) -> bool:
    """Whether detectors were chosen one by one, so that one which cannot be computed is an error."""
    return "all" not in names and tuple(names) != DEFAULT_DETECTORS


def list_detectors() -> list[tuple[str, str, str, str, str]]:
    """Return a row for each detector: its column of scores.parquet, what it reads, UE per prompt, default, source."""
    spikes = [
        (spike_column(kind), f"{kind} neurons", "0" if kind in PROMPT_SITE_KINDS else "n", "yes", SOURCE)
        for kind in SCORED_REDUCTIONS
    ]
    others = [
        (
            name,
            describe_input(detector),
            describe_cost(detector),
            "yes" if name in DEFAULT_DETECTORS else "no",
            detector.source,
        )
        for name, detector in find_detectors().items()
    ]
    return [*spikes, *others]
