"""Judge a score by known labels: AUC, average precision and the true-positive rate at a false-positive rate that is
never exceeded, each with a 95 % interval.

Intervals come from a stratified bootstrap: positives and negatives are drawn again with replacement, each among
themselves, and the percentiles of the recomputed figure are taken. Where few prompts decide this shows too little of
the spread, and nothing of it where every positive stands above every negative. Therefore each end is the outer one of
the bootstrap's and of a score interval that never shrinks to a point:

- true-positive rate: Wilson's interval (1927) of a rate among the positives, as if the threshold were fixed;
- average precision: the same, as the binomial interval of Boyd, Eng and Page (ECML 2013) in Wilson's form;
- AUC: Newcombe's method 5 (Statistics in Medicine 25, 2006) with the variance of Hanley and McNeil (Radiology 143,
  1982). Of an AUC of 1 it leaves about 0.96 / n open, n being the smaller class. It takes scores to spread smoothly:
  that a share of all positives goes unnoticed, none of which is among these, is for the true-positive rate to cover.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reports.evaluation import Estimate
from reports.rates import Interval, wilson_interval

__all__ = [
    "N_RESAMPLES",
    "Estimate",
    "Roc",
    "Separation",
    "auc",
    "average_precision",
    "measure_separation",
    "rate_estimate",
    "roc_curve",
    "threshold_at_fpr",
    "tpr_at_fpr",
]

Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]  # [resample, level]: how many have the level-th highest distinct score

N_RESAMPLES = 1000
_CONFIDENCE = 0.95
_MAX_COUNTS = 4_000_000  # held at a time, so that memory does not grow with the number of negatives
_N_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a score separates positives from negatives; `tprs` follow the false-positive rates asked for."""

    auc: Estimate
    average_precision: Estimate
    tprs: tuple[Estimate, ...]


class Roc(NamedTuple):
    """Both rates at every threshold, from the strictest, where both are 0, to the laxest, where both are 1."""

    fpr: Vector
    tpr: Vector


def auc(positives: Vector, negatives: Vector) -> float:
    """Probability that a positive scores above a negative, ties counting one half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left") + np.searchsorted(ordered, positives, side="right")
    return float(below.mean() / (2 * len(ordered)))


def threshold_at_fpr(negatives: Vector, fpr: float) -> float:
    """Lowest threshold above which a share of at most `fpr` of the negatives lies."""
    ordered = np.sort(negatives)[::-1]
    n_allowed = _n_allowed(len(ordered), fpr)
    return float(ordered[n_allowed]) if n_allowed < len(ordered) else -np.inf


def tpr_at_fpr(positives: Vector, negatives: Vector, fpr: float) -> float:
    """Highest true-positive rate among thresholds whose false-positive rate is at most `fpr`."""
    return float((positives > threshold_at_fpr(negatives, fpr)).mean())


def average_precision(positives: Vector, negatives: Vector) -> float:
    """Precision averaged over the positives, each taken at its own score as threshold; it depends on their share."""
    return float(_average_precisions(*_counts(positives, negatives))[0])


def roc_curve(positives: Vector, negatives: Vector) -> Roc:
    """Both rates at every distinct score as threshold: [threshold + 1]."""
    of_positives, of_negatives = (np.append(0, counts[0].cumsum()) for counts in _counts(positives, negatives))
    return Roc(of_negatives / len(negatives), of_positives / len(positives))


def rate_estimate(successes: int, trials: int) -> Estimate:
    """Return a rate among at least one trial with Wilson's interval."""
    return Estimate(successes / trials, *wilson_interval(successes, trials, _CONFIDENCE))


def measure_separation(positives: Vector, negatives: Vector, fprs: Sequence[float], seed: int) -> Separation:
    """Measure AUC, average precision and the true-positive rate at each of `fprs`, with 95 % intervals.

    With fewer than 1 / fpr negatives no false positive is allowed: the threshold is then the highest negative, and the
    false-positive rate among all others may still lie well above `fpr`, which no interval here accounts for.

    Args:
        positives, negatives: scores, higher is more suspicious: [prompt]; infinities are scores, NaN is none.
        seed: of the bootstrap; with equal numbers of prompts, equal seeds draw the same prompts.

    Raises:
        ValueError: no positives, no negatives, or a NaN among them.
    """
    if not len(positives) or not len(negatives):
        raise ValueError(f"{len(positives)} positives and {len(negatives)} negatives; give at least one of each")
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise ValueError("a score is NaN; leave out prompts without a score, and say how many")
    chunks = list(_figures_of_resamples(positives, negatives, fprs, seed))
    aucs, precisions, *tprs = np.concatenate(chunks, axis=1)  # [figure, resample]
    value = auc(positives, negatives)
    precision = average_precision(positives, negatives)
    n_precise = precision * len(positives)
    boyd = Interval(
        wilson_interval(floor(n_precise + 1e-9), len(positives), _CONFIDENCE).low,
        wilson_interval(ceil(n_precise - 1e-9), len(positives), _CONFIDENCE).high,
    )
    return Separation(
        _estimate(value, aucs, auc_interval(value, len(positives), len(negatives))),
        _estimate(precision, precisions, boyd),
        tuple(
            _tpr_estimate(tpr_at_fpr(positives, negatives, fpr), of_fpr, len(positives))
            for fpr, of_fpr in zip(fprs, tprs, strict=True)
        ),
    )


def auc_interval(value: float, n_positive: int, n_negative: int) -> Interval:
    """95 % score interval of an AUC by Newcombe's method 5; an AUC of 1 or 0 has one, too."""
    low = _lowest_plausible_auc(value, n_positive, n_negative)
    return Interval(low, 1 - _lowest_plausible_auc(1 - value, n_positive, n_negative))


def _lowest_plausible_auc(value: float, n_positive: int, n_negative: int) -> float:
    """Solve value − a = z · σ(a) for a ≤ value by halving; σ is symmetric in the two classes' exchange."""
    z, weight = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2), (n_positive + n_negative) / 2 - 1
    low, high = 0.0, value
    for _ in range(_N_HALVINGS):
        a = (low + high) / 2
        spread = 1 + weight * ((1 - a) / (2 - a) + a / (1 + a))
        too_low = value - a > z * sqrt(a * (1 - a) * spread / (n_positive * n_negative))
        low, high = (a, high) if too_low else (low, a)
    return low


def _estimate(value: float, resampled: Vector, interval: Interval) -> Estimate:
    low, high = np.quantile(resampled, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Estimate(value, min(value, float(low), interval.low), max(value, float(high), interval.high))


def _tpr_estimate(value: float, resampled: Vector, n_positive: int) -> Estimate:
    return _estimate(value, resampled, wilson_interval(round(value * n_positive), n_positive, _CONFIDENCE))


def _figures_of_resamples(
    positives: Vector, negatives: Vector, fprs: Sequence[float], seed: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield AUC, average precision and true-positive rates of some resamples at a time: [figure, resample]."""
    rng = np.random.default_rng(seed)
    n_levels, *levels = _levels(positives, negatives)
    step = max(1, _MAX_COUNTS // (len(positives) + len(negatives)))
    for start in range(0, N_RESAMPLES, step):
        n = min(step, N_RESAMPLES - start)
        drawn = (of_class[rng.integers(len(of_class), size=(n, len(of_class)))] for of_class in levels)
        p, q = (_count(of_class, n_levels) for of_class in drawn)
        yield np.stack([_aucs(p, q), _average_precisions(p, q), *(_tprs(p, q, fpr) for fpr in fprs)])


def _levels(positives: Vector, negatives: Vector) -> tuple[int, Counts, Counts]:
    """Number of distinct scores, and which of them, counted from the highest, each prompt has: [prompt]."""
    distinct, level = np.unique(-np.concatenate([positives, negatives]), return_inverse=True)
    return len(distinct), level[: len(positives)], level[len(positives) :]


def _count(levels: Counts, n_levels: int) -> Counts:
    """Count the prompts at each level, resample by resample: [resample, prompt] -> [resample, level]."""
    n = len(levels)
    flat = levels + n_levels * np.arange(n)[:, None]
    return np.bincount(flat.ravel(), minlength=n * n_levels).reshape(n, n_levels)


def _counts(positives: Vector, negatives: Vector) -> tuple[Counts, Counts]:
    n_levels, of_positives, of_negatives = _levels(positives, negatives)
    return _count(of_positives[None], n_levels), _count(of_negatives[None], n_levels)


def _aucs(positives: Counts, negatives: Counts) -> Vector:
    n_pairs = positives[0].sum() * negatives[0].sum()
    below = negatives.sum(axis=1, keepdims=True) - negatives.cumsum(axis=1)
    return np.asarray((positives * (below + negatives / 2)).sum(axis=1) / n_pairs)


def _average_precisions(positives: Counts, negatives: Counts) -> Vector:
    n_true = positives.cumsum(axis=1)
    precision = n_true / np.maximum(n_true + negatives.cumsum(axis=1), 1)
    return np.asarray((positives * precision).sum(axis=1) / n_true[:, -1])


def _tprs(positives: Counts, negatives: Counts, fpr: float) -> Vector:
    allowed = negatives.cumsum(axis=1) <= _n_allowed(int(negatives[0].sum()), fpr)
    return np.asarray(np.where(allowed, positives.cumsum(axis=1), 0).max(axis=1) / positives[0].sum())


def _n_allowed(n_negative: int, fpr: float) -> int:
    return floor(fpr * n_negative + 1e-9)
