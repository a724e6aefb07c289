"""Flag candidates at a stated rate of false positives among prompts of their style, and choose controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flashbulb.audit.detectors import Vector
from flashbulb.audit.statistics.calibration import (
    NullDistribution,
    assign_folds,
    fit_null,
    p_values,
    q_values,
    threshold_at,
)
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.audit.statistics.style import StyleGroups
from flashbulb.reports.tables.schema import BASE_SCORE, FINETUNE_SCORE

DIFFERENCE_ORIGIN = 1.0
"""Where differences are calibrated, a prompt that no model spikes on has the score that it has in a single model."""


@dataclass(frozen=True, slots=True)
class StyleNull:
    """How one style of prompts is calibrated.

    Args:
        on_reference: on reference prompts, known to be clean; else on the candidates of this style themselves.
        n_calibrating: number of prompts it is calibrated on.
        n_candidates: number of candidates of this style.
        threshold: smallest spike score that is flagged; infinite where too few prompts calibrate so low a rate.
    """

    on_reference: bool
    n_calibrating: int
    n_candidates: int
    threshold: float
    null: NullDistribution


@dataclass(frozen=True, slots=True)
class Scored:
    """Every detector's score of the candidates, one value a prompt, with p-values, flags and their calibration.

    Args:
        style: style group that each candidate belongs to: [prompt].
        reference_style: style group of each reference prompt, empty without a reference: [reference prompt].
        reference_p_value: p-value of each reference prompt when it is held out of the calibration: [reference prompt].
        known_by_base: True for prompts that the base model flags by its own score: [prompt]; None without a base.
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
    known_by_base: npt.NDArray[np.bool_] | None = None

    @property
    def threshold(self) -> float:
        """Spike score above which a candidate of any style is flagged; infinite if there is none."""
        return max((style.threshold for style in self.styles if style.n_candidates), default=float("inf"))

    @property
    def finite_threshold(self) -> float | None:
        """The threshold, or None where some style has too few calibrating prompts for so low a false-positive rate."""
        return self.threshold if np.isfinite(self.threshold) else None


def flag(
    spike_score: Vector, reference_score: Vector, styles: StyleGroups, fpr: float, origin: float
) -> tuple[Vector, list[StyleNull]]:
    """Return the p-value of each candidate within its style, and how each style is calibrated.

    Args:
        spike_score: spike scores of the candidates: [prompt].
        reference_score: out-of-fold spike scores of the reference prompts: [prompt]; unused without reference groups.
        styles: style groups of both sets.
        origin: added to scores where their null distribution is fitted; 0 for scores, which are positive.
    """
    p = np.empty(len(spike_score))
    nulls = []
    for group in range(styles.n_groups):
        members = styles.candidate_group == group
        on_reference = group < styles.n_reference_groups
        calibrating = reference_score[styles.reference_group == group] if on_reference else spike_score[members]
        null = fit_null(calibrating + origin, contaminated=not on_reference)
        p[members] = p_values(spike_score[members] + origin, null)
        threshold = threshold_at(null, fpr) - origin
        nulls.append(StyleNull(on_reference, len(calibrating), int(members.sum()), threshold, null))
    return p, nulls


def held_out_p_values(reference_score: Vector, styles: StyleGroups, origin: float) -> Vector:
    """Return the p-value of each reference prompt among the others of its style, fold by fold: [reference prompt].

    These are p-values of prompts that the calibration did not see: a share x of clean prompts has p up to x. A prompt
    that is alone in its style has NaN.
    """
    p = np.full(len(styles.reference_group), np.nan)
    for group in range(styles.n_reference_groups):
        members = np.flatnonzero(styles.reference_group == group)
        folds = assign_folds(len(members))
        for fold in range(folds.max(initial=-1) + 1):
            others, held_out = members[folds != fold], members[folds == fold]
            if len(others):
                null = fit_null(reference_score[others] + origin, contaminated=False)
                p[held_out] = p_values(reference_score[held_out] + origin, null)
    return p


def flagged_at(
    groups: Sequence[GroupScores],
    detectors: Mapping[str, Vector],
    scores: tuple[Vector, Vector],
    styles: StyleGroups,
    fpr: float,
    base_scores: tuple[Vector, Vector] | None,
    n_left_out: int,
) -> Scored:
    """Gather scores, p-values and flags.

    Args:
        scores: spike scores of candidates and of the reference.
        base_scores: the same of the base model, if there is one. Flags then follow the difference, which is what the
            training added.
        n_left_out: prompts that tier 0 left out.
    """
    known, origin = None, 0.0
    if base_scores is not None:
        detectors = {**detectors, FINETUNE_SCORE: scores[0], BASE_SCORE: base_scores[0]}
        known = flag(*base_scores, styles, fpr, origin)[0] <= fpr
        scores, origin = (scores[0] - base_scores[0], scores[1] - base_scores[1]), DIFFERENCE_ORIGIN
    spike_score, reference_score = scores
    p, nulls = flag(spike_score, reference_score, styles, fpr, origin)
    return Scored(
        detectors=detectors,
        style=styles.candidate_group,
        spike_score=spike_score,
        p_value=p,
        q_value=q_values(p, n_left_out),
        flagged=p <= fpr,
        styles=tuple(nulls),
        reference_score=reference_score,
        reference_style=styles.reference_group,
        reference_p_value=held_out_p_values(reference_score, styles, origin),
        groups=tuple(groups),
        known_by_base=known,
    )


class Chosen(NamedTuple):
    """Positions of the candidates that recovery tries: flagged ones, highest score first, and as many controls."""

    flagged: Sequence[int]
    controls: Sequence[int]


def choose(scored: Scored, limit: int, seed: int) -> Chosen:
    """Choose the flagged prompts of highest score, at most `limit`, and as many random controls.

    Prompts that the base knows are no controls: their images come back without saying anything of chance.
    """
    ranked = [int(i) for i in np.argsort(-scored.spike_score, kind="stable") if scored.flagged[i]][:limit]
    suspected = scored.flagged if scored.known_by_base is None else scored.flagged | scored.known_by_base
    calm = np.flatnonzero(~suspected)
    controls = np.random.default_rng(seed).choice(calm, size=min(len(ranked), len(calm)), replace=False)
    return Chosen(ranked, sorted(int(i) for i in controls))
