"""Flag candidates at a stated false-positive rate, each judged among prompts of its own style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.calibration import NullDistribution, fit_null, fold_of, p_values, q_values, threshold_at
from audit.scoring import GroupScores, Vector
from audit.style import StyleGroups


@dataclass(frozen=True, slots=True)
class StyleNull:
    """How one style of captions was calibrated.

    Args:
        on_reference: on reference prompts, known to be clean; else on the candidates of this style themselves.
        n_calibrating: how many prompts that were.
        n_candidates: how many candidates are judged by it.
        threshold: smallest spike score that is flagged; infinite where so low a rate cannot be shown.
    """

    on_reference: bool
    n_calibrating: int
    n_candidates: int
    threshold: float
    null: NullDistribution


@dataclass(frozen=True, slots=True)
class Scored:
    """Everything the detectors say of the candidates, one value a prompt, and what it was calibrated on.

    Args:
        style: group of captions alike that each candidate is judged among: [prompt].
        reference_style: group of each reference prompt, none without a reference: [reference prompt].
        reference_p_value: of each reference prompt where it takes no part in the calibration: [reference prompt].
    """

    detectors: Mapping[str, Vector]
    style: npt.NDArray[np.int64]
    spike_score: Vector
    p_value: Vector
    q_value: Vector
    flagged: npt.NDArray[np.bool_]
    styles: tuple[StyleNull, ...]
    reference_score: Vector
    reference_style: npt.NDArray[np.int64]
    reference_p_value: Vector
    groups: tuple[GroupScores, ...]

    @property
    def threshold(self) -> float:
        """The spike score above which every candidate is flagged, whatever its style; infinite if there is none."""
        return max((style.threshold for style in self.styles if style.n_candidates), default=float("inf"))

    @property
    def finite_threshold(self) -> float | None:
        """The threshold, or None where some style's calibrating prompts cannot show so low a false-positive rate."""
        return self.threshold if np.isfinite(self.threshold) else None


def flag(
    spike_score: Vector, reference_score: Vector, styles: StyleGroups, fpr: float
) -> tuple[Vector, list[StyleNull]]:
    """p-value of each candidate within its style, and how each style was calibrated.

    Args:
        spike_score: of the candidates: [prompt].
        reference_score: of the reference prompts, out-of-fold: [prompt]; not read where there are no reference groups.
        styles: the groups of both.
    """
    p = np.empty(len(spike_score))
    nulls = []
    for group in range(styles.n_groups):
        members = styles.of_candidates == group
        on_reference = group < styles.n_reference_groups
        calibrating = reference_score[styles.of_reference == group] if on_reference else spike_score[members]
        null = fit_null(calibrating, contaminated=not on_reference)
        p[members] = p_values(spike_score[members], null)
        nulls.append(StyleNull(on_reference, len(calibrating), int(members.sum()), threshold_at(null, fpr), null))
    return p, nulls


def held_out_p_values(reference_score: Vector, styles: StyleGroups) -> Vector:
    """p-value of each reference prompt among the others of its style, fold by fold: [reference prompt].

    They show the calibration at work on prompts that it did not see: of clean prompts a share of x has p up to x. NaN
    for the only one of its style.
    """
    p = np.full(len(styles.of_reference), np.nan)
    for group in range(styles.n_reference_groups):
        members = np.flatnonzero(styles.of_reference == group)
        folds = fold_of(len(members))
        for fold in range(folds.max(initial=-1) + 1):
            others, held_out = members[folds != fold], members[folds == fold]
            if len(others):
                p[held_out] = p_values(reference_score[held_out], fit_null(reference_score[others], contaminated=False))
    return p


def flagged_at(
    groups: Sequence[GroupScores],
    detectors: Mapping[str, Vector],
    scores: tuple[Vector, Vector],
    styles: StyleGroups,
    fpr: float,
) -> Scored:
    """Put scores, p-values and flags together; `scores` are the spike scores of candidates and reference."""
    spike_score, reference_score = scores
    p, nulls = flag(spike_score, reference_score, styles, fpr)
    return Scored(
        detectors=detectors,
        style=styles.of_candidates,
        spike_score=spike_score,
        p_value=p,
        q_value=q_values(p),
        flagged=p <= fpr,
        styles=tuple(nulls),
        reference_score=reference_score,
        reference_style=styles.of_reference,
        reference_p_value=held_out_p_values(reference_score, styles),
        groups=tuple(groups),
    )
