"""Turn scores into p-values, q-values and a threshold at a stated false-positive rate.

p-values are conformal (Vovk et al.): the rank of a score among reference scores, each from a baseline that did not see
its prompt. Ranks end at 1/(n+1) at the largest reference score. Beyond it, a generalized Pareto tail continues them
(Pickands 1975). Prompts that calibrate themselves may have memorized ones in the upper tail. Their tail is therefore
fitted below a fence and extrapolated (an empirical null, Efron, JASA 2004). q-values follow Benjamini and Hochberg
(1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from flashbulb.audit.detectors import Matrix, Vector
from flashbulb.audit.statistics.baseline import Baseline, fit_baseline

N_FOLDS = 5
MIN_REFERENCE = 4
TAIL_SHARE = 0.1
_MIN_TAIL, _MIN_CENSORED_TAIL = 10, 5
BULK_SHARE = 0.7
"""Where prompts calibrate themselves, this share of the lowest scores is used as it is; the tail starts above it."""
FENCE = 5.0
"""Distance of the fence above the median, in units of the distance from the median to the third quartile."""
TAIL_POWER = 0.3
"""Scores to this power have an exponential tail, as measured on clean prompts of the planted models."""
_SMALLEST_P = 1e-12


@dataclass(frozen=True, slots=True)
class NullDistribution:
    """Sorted scores of prompts assumed clean, and the tail that continues them.

    Args:
        scores: sorted; where the tail replaces the largest scores, only those below the tail.
        n_clean: number of clean prompts; more than there are scores where the tail replaces some.
        tail_start: score at which the tail starts.
        tail_share: share of clean prompts above `tail_start`.
        tail_shape, tail_scale: parameters of the generalized Pareto distribution of the excess; scale 0 means no tail.
        tail_power: the excess is a difference of scores raised to this power; 1 means the scores themselves.
        tail_error: Kolmogorov-Smirnov distance between the tail and the scores it was fitted to, in [0, 1].
    """

    scores: Vector
    n_clean: float
    tail_start: float
    tail_share: float
    tail_shape: float
    tail_scale: float
    tail_power: float
    tail_error: float


def assign_folds(n_prompts: int) -> npt.NDArray[np.int64]:
    """Return the fold that leaves each prompt out: [prompt]; neighbours in a file get different folds."""
    return np.arange(n_prompts) % min(N_FOLDS, max(n_prompts, 1))


def cross_fit(
    activations: Matrix, n_components: int, fitted: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int64], list[Baseline]]:
    """Return the fold of each prompt, [prompt], and one baseline per fold, fitted on the prompts of the other folds.

    Args:
        fitted: True for prompts that baselines may be fitted on: [prompt]; by default all.

    Raises:
        ValueError: there are fewer than four prompts, too few to calibrate on.
    """
    if len(activations) < MIN_REFERENCE:
        raise ValueError(f"calibration needs at least {MIN_REFERENCE} prompts, got {len(activations)}; give more")
    folds = assign_folds(len(activations))
    allowed = np.ones(len(activations), dtype=np.bool_) if fitted is None else fitted
    return folds, [
        fit_baseline(activations[(folds != fold) & allowed], n_components) for fold in range(folds.max() + 1)
    ]


def fit_null(scores: Vector, *, contaminated: bool) -> NullDistribution:
    """Fit the distribution of scores of clean prompts.

    Args:
        scores: out-of-fold, finite and at least 0: [prompt].
        contaminated: True if some prompts may be memorized, as where candidates calibrate themselves.
    """
    ordered = np.sort(scores.astype(np.float64))
    if contaminated:
        return _censored_null(ordered) or _null_without_tail(ordered)
    return _clean_null(ordered)


def _null_without_tail(ordered: Vector) -> NullDistribution:
    """Use ranks alone: no p-value is below 1/(n+1), so a memorized prompt among few is not detected."""
    return NullDistribution(ordered, len(ordered), float(ordered[-1]), 1 / (len(ordered) + 1), 0.0, 0.0, 1.0, 0.0)


def _clean_null(ordered: Vector) -> NullDistribution:
    """Keep all scores, and continue them beyond the largest with a tail fitted to the largest tenth."""
    n_tail = max(_MIN_TAIL, int(TAIL_SHARE * len(ordered)))
    if len(ordered) <= n_tail or ordered[-1] <= ordered[-n_tail - 1]:
        return _null_without_tail(ordered)
    start = float(ordered[-n_tail - 1])
    excess = ordered[-n_tail:] - start
    shape, _, scale = stats.genpareto.fit(excess, floc=0)
    if shape < 0:  # a finite tail makes any score beyond its end impossible; an exponential tail is conservative
        shape, scale = 0.0, excess.mean()
    error = _distance(excess, stats.genpareto.cdf(excess, shape, 0, scale))
    share = n_tail / len(ordered)
    return NullDistribution(ordered, len(ordered), start, share, float(shape), float(scale), 1.0, error)


def _censored_null(ordered: Vector) -> NullDistribution | None:
    """Keep the bulk, and continue it with an exponential tail fitted to the scores between the bulk and the fence.

    Scores beyond the fence, clean or memorized, do not shape the tail. None if too few scores lie between.
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
    error = _distance(excess, np.expm1(-rate * excess) / np.expm1(-rate * reach))
    return NullDistribution(
        bulk, n_clean, float(start ** (1 / TAIL_POWER)), n_tail / n_clean, 0.0, 1 / rate, TAIL_POWER, error
    )


def _distance(ordered: Vector, cdf: Vector) -> float:
    """Return the Kolmogorov-Smirnov distance between sorted values and a distribution, given its CDF at each."""
    ranks = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((ranks[1:] - cdf).max(), (cdf - ranks[:-1]).max()))


def _truncated_rate(mean: float, reach: float) -> float:
    """Return the maximum-likelihood rate of an exponential distribution truncated at `reach`, given its mean."""
    lowest, highest = 1e-3 / reach, 1e3 / reach

    def gap(rate: float) -> float:
        return float(1 / rate - reach / np.expm1(min(rate * reach, 700.0)) - mean)

    if gap(lowest) <= 0:  # no steeper than a uniform distribution
        return float(lowest)
    return float(optimize.brentq(gap, lowest, highest)) if gap(highest) < 0 else float(highest)


def p_values(scores: Vector, null: NullDistribution) -> Vector:
    """Return the share of clean prompts expected to score at least as high: [prompt], in (0, 1]."""
    above = null.n_clean - np.searchsorted(null.scores, scores, side="left")
    conformal = np.minimum((1 + above) / (null.n_clean + 1), 1.0)
    if null.tail_scale == 0:
        return np.asarray(conformal, dtype=np.float64)
    power = null.tail_power
    excess = np.maximum(np.maximum(scores, 0) ** power - null.tail_start**power, 0)
    tail = null.tail_share * stats.genpareto.sf(excess, null.tail_shape, 0, null.tail_scale)
    beyond = scores > null.scores[-1]
    lowest_of_ranks = (1 + null.n_clean - len(null.scores)) / (null.n_clean + 1)
    return np.asarray(np.where(beyond, np.clip(tail, _SMALLEST_P, lowest_of_ranks), conformal), dtype=np.float64)


def q_values(p: Vector, n_left_out: int) -> Vector:
    """Return the p-values adjusted for false discoveries (Benjamini-Hochberg): [prompt] -> [prompt].

    Args:
        n_left_out: prompts without a p-value, left out because they look calm. They count as p = 1: the others were
            chosen among all, so with their number alone too many would count as discoveries.
    """
    if len(p) == 0:
        return p
    complete = np.concatenate([p, np.ones(n_left_out)])
    return np.asarray(stats.false_discovery_control(complete, method="bh"), dtype=np.float64)[: len(p)]


def threshold_at(null: NullDistribution, fpr: float) -> float:
    """Return the smallest score whose p-value is at most `fpr`; not the nearest point, which could exceed the rate.

    Infinite if no score reaches so low a p-value: there are too few prompts to rank, and no tail.
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
