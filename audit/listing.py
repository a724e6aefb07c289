"""List the detectors with what they read, what they cost and where they come from."""

from __future__ import annotations

from audit.config import DEFAULT_DETECTORS
from audit.detectors import Detector, NeuronDetector, StepDetector, available
from audit.detectors.spikes import SCORED_REDUCTIONS, SOURCE
from hooks import PROMPT_SITE_KINDS


def detector_rows() -> list[tuple[str, str, str, str, str]]:
    """Column of scores.parquet, what it reads, UE a prompt, whether it is chosen by default, and source."""
    spikes = [
        (f"spikes_{kind}", f"{kind} neurons", "0" if kind in PROMPT_SITE_KINDS else "n", "yes", SOURCE)
        for kind in SCORED_REDUCTIONS
    ]
    others = [
        (
            name,
            _reads(detector),
            evaluations(detector),
            "yes" if name in DEFAULT_DETECTORS else "no",
            detector.source,
        )
        for name, detector in available().items()
    ]
    return [*spikes, *others]


def evaluations(detector: Detector) -> str:
    """UE a prompt with n seeds and m pictures, if it were the only detector."""
    if isinstance(detector, NeuronDetector | StepDetector):
        count = detector.evaluations_per_seed
        return "0" if count == 0 else "n" if count == 1 else f"{count} n"
    extra = detector.evaluations_per_picture
    return "sampling" if extra == 0 else f"sampling + {'' if extra == 1 else f'{extra} '}m"


def _reads(detector: Detector) -> str:
    if isinstance(detector, NeuronDetector):
        return f"{detector.kind} neurons"
    if isinstance(detector, StepDetector):
        return "attention at x_T" if detector.reads_attention else "noise predicted at x_T"
    return "sampled pictures"
