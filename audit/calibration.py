"""Turn scores into p-values, q-values and a threshold at a stated false-positive rate.

p-values are conformal (Vovk et al.): the rank of a score among the scores of reference prompts that the baseline did
not see. Beyond the largest reference score, where ranks end at 1/(n+1), a generalized Pareto tail continues them
(Pickands 1975). Where prompts have to calibrate themselves, memorized ones sit in the upper tail, so the tail is fitted
below a fence and continued (an empirical null in Efron's sense, JASA 2004). q-values are Benjamini and Hochberg's
(1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from audit.baseline import Baseline, Matrix, fit_baseline

Vector = npt.NDArray[np.float64]  # [prompt]

N_FOLDS = 5
MIN_REFERENCE = 4
TAIL_SHARE = 0.1
_MIN_TAIL, _MIN_CENSORED_TAIL = 10, 5
BULK_SHARE = 0.7
"""Of prompts that calibrate themselves, this share is taken as it is; the tail is fitted to those above."""
FENCE = 5.0
"""Up to this many times the distance from the median to the third quartile, above the median."""
TAIL_POWER = 0.3
"""Scores to this power have a tail that falls off exponentially, as found on clean captions of the planted models."""
_SMALLEST_P = 1e-12


@dataclass(frozen=True, slots=True)
class NullDistribution:
    """Sorted scores of prompts taken to be clean, and the tail that continues them.

    Args:
        scores: sorted, those below the tail where the tail replaces the largest.
        n_clean: how many clean prompts stand behind it; more than there are scores where the tail replaces some.
        tail_start: score at which the tail starts.
        tail_share: share of clean prompts above it.
        tail_shape, tail_scale: of the generalized Pareto distribution of the excess; scale 0 is no tail.
        tail_power: the excess is taken between scores to this power; 1 is the scores themselves.
        tail_error: Kolmogorov-Smirnov distance between the tail and the scores it was fitted to, 0 to 1.
    """

    scores: Vector
    n_clean: float
    tail_start: float
    tail_share: float
    tail_shape: float
    tail_scale: float
    tail_power: float
    tail_error: float


def fold_of(n_prompts: int) -> npt.NDArray[np.int64]:
    """The fold each prompt is left out in: [prompt]; neighbours in a file fall into different folds."""
    return np.arange(n_prompts) % min(N_FOLDS, max(n_prompts, 1))


def cross_fit(
    activations: Matrix, n_components: int, fitted: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int64], list[Baseline]]:
    """Fold of each prompt, and for each fold the baseline fitted on all the others.

    Args:
        fitted: prompts that baselines may be fitted on: [prompt]; by default all.

    Raises:
        ValueError: fewer than four prompts: no fold would leave two to fit on.
    """
    if len(activations) < MIN_REFERENCE:
        raise ValueError(f"calibration needs at least {MIN_REFERENCE} prompts, got {len(activations)}; give more")
    folds = fold_of(len(activations))
    allowed = np.ones(len(activations), dtype=np.bool_) if fitted is None else fitted
    return folds, [
        fit_baseline(activations[(folds != fold) & allowed], n_components) for fold in range(folds.max() + 1)
    ]


def fit_null(scores: Vector, *, contaminated: bool) -> NullDistribution:
    """Fit the null distribution.

    Args:
        scores: [prompt], out-of-fold, all finite and at least 0.
        contaminated: some of the prompts may be memorized (candidates that calibrate themselves).
    """
    ordered = np.sort(scores.astype(np.float64))
    if contaminated:
        return _censored_null(ordered) or _ranks_alone(ordered)
    return _clean_null(ordered)


def _ranks_alone(ordered: Vector) -> NullDistribution:
    """No tail: nothing is rarer than one in as many as there are, and a memorized prompt among few hides itself."""
    return NullDistribution(ordered, len(ordered), float(ordered[-1]), 1 / (len(ordered) + 1), 0.0, 0.0, 1.0, 0.0)


def _clean_null(ordered: Vector) -> NullDistribution:
    """All scores, continued beyond the largest by a tail fitted to their largest tenth."""
    n_tail = max(_MIN_TAIL, int(TAIL_SHARE * len(ordered)))
    if len(ordered) <= n_tail or ordered[-1] <= ordered[-n_tail - 1]:
        return _ranks_alone(ordered)
    start = float(ordered[-n_tail - 1])
    excess = ordered[-n_tail:] - start
    shape, _, scale = stats.genpareto.fit(excess, floc=0)
    if shape < 0:  # a tail that ends would call anything beyond it impossible; an exponential one errs on the safe side
        shape, scale = 0.0, excess.mean()
    error = float(stats.kstest(excess, stats.genpareto(shape, 0, scale).cdf).statistic)
    share = n_tail / len(ordered)
    return NullDistribution(ordered, len(ordered), start, share, float(shape), float(scale), 1.0, error)


def _censored_null(ordered: Vector) -> NullDistribution | None:
    """The bulk, continued by an exponential tail fitted between the bulk and a fence; None where too few lie there.

    Scores beyond the fence are not looked at: clean or memorized, they do not shape the tail.
    """
    roots = np.maximum(ordered, 0) ** TAIL_POWER
    median, quartile, start = np.quantile(roots, [0.5, 0.75, BULK_SHARE])
    fence = median + FENCE * (quartile - median)
    excess = roots[(roots > start) & (roots <= fence)] - start
    reach = fence - start
    if len(excess) < _MIN_CENSORED_TAIL or reach <= 0:
        return None
    rate = _truncated_rate(float(excess.mean()), reach)
    n_tail = len(excess) / -np.expm1(-rate * reach)
    bulk = ordered[roots <= start]
    n_clean = len(bulk) + n_tail
    error = float(stats.kstest(excess, lambda x: np.expm1(-rate * x) / np.expm1(-rate * reach)).statistic)
    return NullDistribution(
        bulk, n_clean, float(start ** (1 / TAIL_POWER)), n_tail / n_clean, 0.0, 1 / rate, TAIL_POWER, error
    )


def _truncated_rate(mean: float, reach: float) -> float:
    """Maximum-likelihood rate of an exponential distribution seen only up to `reach`, where its mean is `mean`."""
    lowest, highest = 1e-3 / reach, 1e3 / reach

    def gap(rate: float) -> float:
        return float(1 / rate - reach / np.expm1(min(rate * reach, 700.0)) - mean)

    if gap(lowest) <= 0:  # as flat as a uniform distribution
        return float(lowest)
    return float(optimize.brentq(gap, lowest, highest)) if gap(highest) < 0 else float(highest)


def p_values(scores: Vector, null: NullDistribution) -> Vector:
    """Share of clean prompts expected to score at least this high: [prompt], in (0, 1]."""
    above = null.n_clean - np.searchsorted(null.scores, scores, side="left")
    conformal = np.minimum((1 + above) / (null.n_clean + 1), 1.0)
    if null.tail_scale == 0:
        return np.asarray(conformal, dtype=np.float64)
    power = null.tail_power
    excess = np.maximum(np.maximum(scores, 0) ** power - null.tail_start**power, 0)
    tail = null.tail_share * stats.genpareto.sf(excess, null.tail_shape, 0, null.tail_scale)
    beyond = scores > null.scores[-1]
    return np.asarray(np.where(beyond, np.clip(tail, _SMALLEST_P, _floor(null)), conformal), dtype=np.float64)


def _floor(null: NullDistribution) -> float:
    """The lowest p-value that ranks can give."""
    return float((1 + null.n_clean - len(null.scores)) / (null.n_clean + 1))


def q_values(p: Vector) -> Vector:
    """Benjamini-Hochberg adjusted p-values over the set: [prompt]."""
    if len(p) == 0:
        return p
    return np.asarray(stats.false_discovery_control(p, method="bh"), dtype=np.float64)


def threshold_at(null: NullDistribution, fpr: float) -> float:
    """Smallest score whose p-value is at most `fpr`: never the nearest point, so the rate is never exceeded.

    Infinite where no score is that rare: too few reference prompts to rank so low, and no tail to go on.
    """
    n_above = int(np.floor(fpr * (null.n_clean + 1) - 1 + 1e-9)) - (null.n_clean - len(null.scores))
    if n_above >= 0:
        rank = len(null.scores) - 1 - int(np.floor(n_above + 1e-9))
        return float(np.nextafter(null.scores[rank], np.inf)) if rank >= 0 else 0.0
    if null.tail_scale == 0:
        return float("inf")
    power = null.tail_power
    excess = stats.genpareto.isf(min(fpr / null.tail_share, 1.0), null.tail_shape, 0, null.tail_scale)
    beyond = (null.tail_start**power + excess) ** (1 / power)
    return float(max(beyond, np.nextafter(null.scores[-1], np.inf)))
