"""Turn sampled pictures into evidence: agreement of seeds, the nearest training picture, and distinct findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audit.evidence import REPLICATION_DISTANCE, Picture, Pictures, medoid, seed_agreement, tile_distances
from audit.training_images import Nearest, TrainingImages

AGREEING_SHARE = 0.75
"""Share of seeds that must give one picture before a prompt counts as recalling it."""

FALSE_DISCOVERY_RATE = 0.1
"""Flagged prompts with a q-value up to this are of medium severity even if no picture came back."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What sampling one prompt showed; `best` is the index of the sample that stands for it."""

    best: int
    agreement: float
    nearest: Nearest | None
    verdict: str  # confirmed | likely | not_shown


def judge(pictures: Pictures, training: TrainingImages | None) -> Outcome:
    """Judge one prompt's samples [seed, height, width, 3].

    confirmed: a sample is a near-duplicate of a training picture. likely: none is, but at least three quarters of the
    seeds give one picture. not_shown: neither.
    """
    agreement = seed_agreement(pictures)
    found = training.nearest(pictures) if training is not None else [None] * len(pictures)
    distances = [nearest.distance if nearest else np.inf for nearest in found]
    closest, typical = int(np.argmin(distances)), medoid(pictures)
    if distances[closest] <= REPLICATION_DISTANCE:
        return Outcome(closest, agreement, found[closest], "confirmed")
    return Outcome(typical, agreement, found[typical], "likely" if agreement >= AGREEING_SHARE else "not_shown")


def severity(flagged: bool, q_value: float, outcome: Outcome | None) -> str:
    """high: flagged and its picture came back; medium: flagged and significant over the set; low: flagged; none."""
    if not flagged:
        return "none"
    if outcome is not None and outcome.verdict != "not_shown":
        return "high"
    return "medium" if q_value <= FALSE_DISCOVERY_RATE else "low"


def group_findings(outcomes: Sequence[Outcome], pictures: Sequence[Picture]) -> list[int | None]:
    """Number the distinct pictures among the shown outcomes: one finding can have many prompts; None if not shown.

    Args:
        outcomes: one a prompt, worst first, so that findings are numbered by severity.
        pictures: the picture standing for each outcome, [height, width, 3].
    """
    heads: list[tuple[int | None, Picture]] = []
    numbers: list[int | None] = []
    for outcome, picture in zip(outcomes, pictures, strict=True):
        if outcome.verdict == "not_shown":
            numbers.append(None)
            continue
        image = outcome.nearest.index if outcome.nearest and outcome.verdict == "confirmed" else None
        number = next((i for i, head in enumerate(heads) if _same(head, image, picture)), len(heads))
        if number == len(heads):
            heads.append((image, picture))
        numbers.append(number)
    return numbers


def _same(head: tuple[int | None, Picture], image: int | None, picture: Picture) -> bool:
    if head[0] is not None and image is not None:
        return head[0] == image
    return float(tile_distances(head[1][None], picture)[0]) <= REPLICATION_DISTANCE
