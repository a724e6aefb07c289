"""Turn scores into p-values, q-values and a threshold at a stated false-positive rate.

p-values are conformal (Vovk et al.): the rank of a score among the scores of reference prompts that the baseline did
not see. Beyond the largest reference score, where ranks end at 1/(n+1), a generalized Pareto tail continues them
(Pickands 1975). q-values are Benjamini and Hochberg's (1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from audit.baseline import Baseline, Matrix, fit_baseline

Vector = npt.NDArray[np.float64]  # [prompt]

N_FOLDS = 5
MIN_REFERENCE = 4
TAIL_SHARE = 0.1
_MIN_TAIL = 10
_FAR_OUT = 6.0  # in interquartile ranges of log scores; Tukey's "far out" is 3


@dataclass(frozen=True, slots=True)
class NullDistribution:
    """Sorted scores of prompts taken to be clean, and the tail fitted to their largest tenth."""

    scores: Vector
    tail_start: float
    tail_share: float
    tail_shape: float
    tail_scale: float


def fold_of(n_prompts: int) -> npt.NDArray[np.int64]:
    """The fold each prompt is left out in: [prompt]; neighbours in a file fall into different folds."""
    return np.arange(n_prompts) % min(N_FOLDS, max(n_prompts, 1))


def cross_fit(activations: Matrix, n_components: int) -> tuple[npt.NDArray[np.int64], list[Baseline]]:
    """Fold of each prompt, and for each fold the baseline fitted on all the others.

    Raises:
        ValueError: fewer than four prompts: no fold would leave two to fit on.
    """
    if len(activations) < MIN_REFERENCE:
        raise ValueError(f"calibration needs at least {MIN_REFERENCE} prompts, got {len(activations)}; give more")
    folds = fold_of(len(activations))
    return folds, [fit_baseline(activations[folds != fold], n_components) for fold in range(folds.max() + 1)]


def fit_null(scores: Vector, *, contaminated: bool) -> NullDistribution:
    """Fit the null distribution.

    Args:
        scores: [prompt], out-of-fold, all finite.
        contaminated: some of the prompts may be memorized (the candidates calibrate themselves); scores far outside
            the bulk are then left out first.
    """
    if contaminated:
        positive = np.log1p(scores[scores > 0])
        if 2 * len(positive) >= len(scores):  # where most scores are zero, every other one would lie far outside
            low, high = np.quantile(positive, [0.25, 0.75])
            scores = scores[np.log1p(np.maximum(scores, 0)) <= high + _FAR_OUT * max(high - low, 1e-9)]
    ordered = np.sort(scores.astype(np.float64))
    n_tail = max(_MIN_TAIL, int(TAIL_SHARE * len(ordered)))
    if len(ordered) <= n_tail or ordered[-1] <= ordered[-n_tail - 1]:
        return NullDistribution(ordered, float(ordered[-1]), 1 / (len(ordered) + 1), 0.0, 0.0)
    start = float(ordered[-n_tail - 1])
    excess = ordered[-n_tail:] - start
    shape, _, scale = stats.genpareto.fit(excess, floc=0)
    if shape < 0:  # a tail that ends would call anything beyond it impossible; an exponential one errs on the safe side
        shape, scale = 0.0, excess.mean()
    return NullDistribution(ordered, start, n_tail / len(ordered), float(shape), float(scale))


def p_values(scores: Vector, null: NullDistribution) -> Vector:
    """Share of clean prompts expected to score at least this high: [prompt], in (0, 1]."""
    n = len(null.scores)
    above = n - np.searchsorted(null.scores, scores, side="left")
    conformal = (1 + above) / (n + 1)
    if null.tail_scale == 0:
        return np.asarray(conformal, dtype=np.float64)
    excess = np.maximum(scores - null.tail_start, 0)
    tail = null.tail_share * stats.genpareto.sf(excess, null.tail_shape, 0, null.tail_scale)
    beyond = scores > null.scores[-1]
    return np.asarray(np.where(beyond, np.clip(tail, 1e-12, 1 / (n + 1)), conformal), dtype=np.float64)


def q_values(p: Vector) -> Vector:
    """Benjamini-Hochberg adjusted p-values over the set: [prompt]."""
    if len(p) == 0:
        return p
    return np.asarray(stats.false_discovery_control(p, method="bh"), dtype=np.float64)


def threshold_at(null: NullDistribution, fpr: float) -> float:
    """Smallest score whose p-value is at most `fpr`: never the nearest point, so the rate is never exceeded.

    Infinite where no score is that rare: too few reference prompts to rank so low, and no tail to go on.
    """
    n = len(null.scores)
    n_allowed = int(np.floor(fpr * (n + 1) + 1e-9))
    if n_allowed >= 1:
        return float(np.nextafter(null.scores[n - n_allowed], np.inf))
    if null.tail_scale == 0:
        return float("inf")
    beyond = null.tail_start + stats.genpareto.isf(fpr / null.tail_share, null.tail_shape, 0, null.tail_scale)
    return float(max(beyond, np.nextafter(null.scores[-1], np.inf)))
