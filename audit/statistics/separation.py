"""Measure how well a score separates labelled prompts: AUC, average precision, and TPR at a stated FPR.

TPR and FPR are the true-positive and false-positive rates. The threshold never exceeds the stated FPR. Every figure has
a 95 % interval, computed in two ways:

1. A stratified bootstrap resamples positives and negatives separately, with replacement, and takes the percentiles of
   the recomputed figure. It understates the spread when few prompts decide the figure, and shows none when every
   positive scores above every negative.
2. An interval by formula never shrinks to a point:
   - TPR: the exact interval (Clopper and Pearson 1934) of a rate among the positives. It takes the threshold as given;
     the negatives choose it, and only the bootstrap covers that choice;
   - average precision: the binomial interval of Boyd, Eng and Page (ECML 2013), in its exact form;
   - AUC: Newcombe's method 5 (Statistics in Medicine 25, 2006) with the variance of Hanley and McNeil (Radiology 143,
     1982). For an AUC of 1 it is about 0.96 / n wide, where n is the size of the smaller class. It assumes a smooth
     distribution of scores. It does not allow for a kind of positive that scores low and is missing from the sample;
     the interval of the TPR does.

Each end of the reported interval is the outer one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, nextafter, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize

from flashbulb.audit.detectors import Vector
from flashbulb.reports.bounds.rates import Interval, exact_interval
from flashbulb.reports.views.evaluation import Estimate

Counts = npt.NDArray[np.int64]  # [resample, level]: number of prompts with the level-th highest distinct score

N_RESAMPLES = 1000
"""Resamples of a bootstrap, of which each figure's interval is made."""
_CONFIDENCE = 0.95
_AUC_TOLERANCE = 1e-15
_MAX_COUNTS = 4_000_000  # counts in memory at once: memory does not grow with the number of negatives


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a score separates positives from negatives; `tprs` are in the order of the requested FPRs."""

    auc: Estimate
    average_precision: Estimate
    tprs: tuple[Estimate, ...]


class Roc(NamedTuple):
    """FPR and TPR at every threshold, from the strictest (both 0) to the most lenient (both 1): [threshold + 1]."""

    fpr: Vector
    tpr: Vector


def auc(positives: Vector, negatives: Vector) -> float:
    """Return the probability that a positive scores above a negative; a tie counts one half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left") + np.searchsorted(ordered, positives, side="right")
    return float(below.mean() / (2 * len(ordered)))


def threshold_at_fpr(negatives: Vector, fpr: float) -> float:
    """Return the lowest threshold that at most a share `fpr` of the negatives exceeds."""
    ordered = np.sort(negatives)[::-1]
    n_allowed = _n_allowed(len(ordered), fpr)
    return float(ordered[n_allowed]) if n_allowed < len(ordered) else -np.inf


def tpr_at_fpr(positives: Vector, negatives: Vector, fpr: float) -> float:
    """Return the highest true-positive rate among thresholds whose false-positive rate is at most `fpr`."""
    return float((positives > threshold_at_fpr(negatives, fpr)).mean())


def average_precision(positives: Vector, negatives: Vector) -> float:
    """Average the precision over the positives, with each one's score as threshold.

    It depends on the share of positives among the prompts.
    """
    return float(_average_precisions(*_counts(positives, negatives))[0])


def roc_curve(positives: Vector, negatives: Vector) -> Roc:
    """Return FPR and TPR with every distinct score as threshold."""
    n_true, n_false = (np.append(0, counts[0].cumsum()) for counts in _counts(positives, negatives))
    return Roc(n_false / len(negatives), n_true / len(positives))


def rate_estimate(successes: int, trials: int) -> Estimate:
    """Return a rate and its exact 95 % interval; `trials` is at least 1."""
    return Estimate(successes / trials, *exact_interval(successes, trials, _CONFIDENCE))


def measure_separation(positives: Vector, negatives: Vector, fprs: Sequence[float], seed: int) -> Separation:
    """Measure AUC, average precision and the true-positive rate at each of `fprs`, with 95 % intervals.

    With fewer than 1 / fpr negatives no false positive is allowed, and the threshold is the highest negative. The
    false-positive rate on other prompts may then be well above `fpr`. No interval here accounts for that.

    Args:
        positives, negatives: scores, where higher is more suspicious: [prompt]. Infinite scores are allowed.
        seed: seed of the bootstrap. Equal seeds and equal numbers of prompts draw the same prompts.

    Raises:
        ValueError: there are no positives, no negatives, or a score is NaN.
    """
    if not len(positives) or not len(negatives):
        raise ValueError(f"{len(positives)} positives and {len(negatives)} negatives; give at least one of each")
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise ValueError("a score is NaN; leave out prompts without a score, and report how many")
    chunks = list(_resampled_figures(positives, negatives, fprs, seed))
    aucs, precisions, *tprs = np.concatenate(chunks, axis=1)  # [figure, resample]
    value = auc(positives, negatives)
    precision = average_precision(positives, negatives)
    n_precise = precision * len(positives)
    boyd = Interval(
        exact_interval(floor(n_precise + 1e-9), len(positives), _CONFIDENCE).low,
        exact_interval(ceil(n_precise - 1e-9), len(positives), _CONFIDENCE).high,
    )
    return Separation(
        _estimate(value, aucs, auc_interval(value, len(positives), len(negatives))),
        _estimate(precision, precisions, boyd),
        tuple(
            _tpr_estimate(tpr_at_fpr(positives, negatives, fpr), resampled, len(positives))
            for fpr, resampled in zip(fprs, tprs, strict=True)
        ),
    )


def auc_interval(value: float, n_positive: int, n_negative: int) -> Interval:
    """Return the 95 % interval of an AUC by Newcombe's method 5; its width is positive even at an AUC of 0 or 1."""
    low = _lowest_plausible_auc(value, n_positive, n_negative)
    return Interval(low, 1 - _lowest_plausible_auc(1 - value, n_positive, n_negative))


def _lowest_plausible_auc(value: float, n_positive: int, n_negative: int) -> float:
    """Solve value − a = z · σ(a) for a ≤ value; σ does not change when the two classes are exchanged."""
    if value <= _AUC_TOLERANCE:
        return 0.0
    z, weight = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2), (n_positive + n_negative) / 2 - 1

    def gap(a: float) -> float:
        spread = 1 + weight * ((1 - a) / (2 - a) + a / (1 + a))
        return value - a - z * sqrt(a * (1 - a) * spread / (n_positive * n_negative))

    below_value = nextafter(value, 0)  # at a value of 1, `value` itself is a second root
    return float(optimize.brentq(gap, 0.0, below_value, xtol=_AUC_TOLERANCE))


def _estimate(value: float, resampled: Vector, interval: Interval) -> Estimate:
    low, high = np.quantile(resampled, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Estimate(value, min(value, float(low), interval.low), max(value, float(high), interval.high))


def _tpr_estimate(value: float, resampled: Vector, n_positive: int) -> Estimate:
    return _estimate(value, resampled, exact_interval(round(value * n_positive), n_positive, _CONFIDENCE))


def _resampled_figures(
    positives: Vector, negatives: Vector, fprs: Sequence[float], seed: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield AUC, average precision and the true-positive rates, a chunk of resamples at a time: [figure, resample]."""
    rng = np.random.default_rng(seed)
    n_levels, *levels = _levels(positives, negatives)
    step = max(1, _MAX_COUNTS // (len(positives) + len(negatives)))
    for start in range(0, N_RESAMPLES, step):
        n = min(step, N_RESAMPLES - start)
        drawn = (level[rng.integers(len(level), size=(n, len(level)))] for level in levels)
        p, q = (_count(level, n_levels) for level in drawn)
        yield np.stack([_aucs(p, q), _average_precisions(p, q), *(_tprs(p, q, fpr) for fpr in fprs)])


def _levels(positives: Vector, negatives: Vector) -> tuple[int, Counts, Counts]:
    """Return the number of distinct scores, and the rank of each prompt's score among them, from the highest."""
    distinct, level = np.unique(-np.concatenate([positives, negatives]), return_inverse=True)
    return len(distinct), level[: len(positives)], level[len(positives) :]


def _count(levels: Counts, n_levels: int) -> Counts:
    """Count the prompts at each level of each resample: [resample, prompt] -> [resample, level]."""
    n = len(levels)
    flat = levels + n_levels * np.arange(n)[:, None]
    return np.bincount(flat.ravel(), minlength=n * n_levels).reshape(n, n_levels)


def _counts(positives: Vector, negatives: Vector) -> tuple[Counts, Counts]:
    n_levels, *levels = _levels(positives, negatives)
    p, q = (_count(level[None], n_levels) for level in levels)
    return p, q


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
