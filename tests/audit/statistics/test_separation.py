"""AUC, average precision and TPR at a false-positive rate, and their intervals, agree with slow, obvious oracles."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from flashbulb.audit.statistics import separation as separation_module
from flashbulb.audit.statistics.separation import (
    Separation,
    auc,
    auc_interval,
    average_precision,
    measure_separation,
    rate_estimate,
    roc_curve,
    threshold_at_fpr,
    tpr_at_fpr,
)
from flashbulb.reports.views.evaluation import Estimate

scores = st.lists(st.integers(0, 9), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=np.float64))
FPRS = (0.01, 0.1)


def gaussians(n_positive: int, n_negative: int, distance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(distance, 1, n_positive), rng.normal(0, 1, n_negative)


def estimates(separation: Separation) -> list[Estimate]:
    return [separation.auc, separation.average_precision, *separation.tprs]


def labelled(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat([1, 0], [len(positives), len(negatives)]), np.concatenate([positives, negatives])


@given(scores, scores)
def test_auc_is_the_share_of_correctly_ordered_pairs(positives: np.ndarray, negatives: np.ndarray) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert np.isclose(auc(positives, negatives), np.mean(pairs))


@given(scores, scores)
def test_auc_and_average_precision_equal_those_of_scikit_learn(positives: np.ndarray, negatives: np.ndarray) -> None:
    labels, values = labelled(positives, negatives)
    assert np.isclose(auc(positives, negatives), roc_auc_score(labels, values))
    assert np.isclose(average_precision(positives, negatives), average_precision_score(labels, values))


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_tpr_is_the_highest_among_thresholds_that_keep_the_false_positive_rate(
    positives: np.ndarray, negatives: np.ndarray, fpr: float
) -> None:
    allowed = [t for t in [-1.0, *range(10)] if (negatives > t).mean() <= fpr + 1e-12]
    assert np.isclose(tpr_at_fpr(positives, negatives, fpr), max((positives > t).mean() for t in allowed))
    assert (negatives > threshold_at_fpr(negatives, fpr)).mean() <= fpr


@given(scores, scores)
def test_the_area_under_the_roc_curve_is_the_auc_and_every_tpr_is_on_it(
    positives: np.ndarray, negatives: np.ndarray
) -> None:
    fpr, tpr = roc_curve(positives, negatives)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.isclose(np.trapezoid(tpr, fpr), auc(positives, negatives))
    for rate in (0.0, 0.1, 0.5):
        assert np.isclose(tpr[fpr <= rate + 1e-12].max(), tpr_at_fpr(positives, negatives, rate))


@given(scores, scores)
def test_swapping_the_labels_mirrors_the_auc_and_its_interval(positives: np.ndarray, negatives: np.ndarray) -> None:
    assert np.isclose(auc(negatives, positives), 1 - auc(positives, negatives))
    interval = auc_interval(auc(positives, negatives), len(positives), len(negatives))
    swapped = auc_interval(auc(negatives, positives), len(negatives), len(positives))
    assert np.allclose(swapped, (1 - interval.high, 1 - interval.low))


def lowest_plausible_auc_by_bisection(value: float, n_positive: int, n_negative: int) -> float:
    z, weight = norm.isf(0.025), (n_positive + n_negative) / 2 - 1
    low, high = 0.0, value
    for _ in range(60):
        a = (low + high) / 2
        spread = 1 + weight * ((1 - a) / (2 - a) + a / (1 + a))
        too_low = value - a > z * np.sqrt(a * (1 - a) * spread / (n_positive * n_negative))
        low, high = (a, high) if too_low else (low, a)
    return low


@example(5e-324, 1, 1)
@given(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1), st.integers(1, 2000), st.integers(1, 2000))
def test_the_auc_interval_equals_bisection(value: float, n_positive: int, n_negative: int) -> None:
    low = lowest_plausible_auc_by_bisection(value, n_positive, n_negative)
    high = 1 - lowest_plausible_auc_by_bisection(1 - value, n_positive, n_negative)
    assert auc_interval(value, n_positive, n_negative) == pytest.approx((low, high), abs=1e-9)


def test_a_monotone_transform_of_the_scores_changes_nothing() -> None:
    positives, negatives = gaussians(30, 200, 1.5, 0)
    expected = measure_separation(positives, negatives, FPRS, 7)
    assert measure_separation(np.exp(positives) * 3, np.exp(negatives) * 3, FPRS, 7) == expected


def test_intervals_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = gaussians(30, 200, 1.5, 0)
    first = measure_separation(*groups, FPRS, 1)
    assert measure_separation(*groups, FPRS, 1) == first
    assert measure_separation(*groups, FPRS, 2) != first
    monkeypatch.setattr(separation_module, "_MAX_COUNTS", 1000)  # a few resamples at a time
    for in_chunks, at_once in zip(estimates(measure_separation(*groups, FPRS, 1)), estimates(first), strict=True):
        assert in_chunks.value == at_once.value
        assert (in_chunks.low, in_chunks.high) == pytest.approx((at_once.low, at_once.high), abs=0.06)


@given(scores, scores)
def test_every_interval_contains_its_value_and_lies_between_0_and_1(
    positives: np.ndarray, negatives: np.ndarray
) -> None:
    separation = measure_separation(positives, negatives, FPRS, 0)
    assert separation.auc.value == auc(positives, negatives)
    assert separation.average_precision.value == average_precision(positives, negatives)
    assert [tpr.value for tpr in separation.tprs] == [tpr_at_fpr(positives, negatives, fpr) for fpr in FPRS]
    for estimate in estimates(separation):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert estimate.low < estimate.high


@pytest.mark.parametrize(("n_positive", "n_negative", "distance"), [(20, 30, 1.0), (10, 100, 2.0)])
def test_the_interval_covers_the_true_auc_of_two_gaussians(n_positive: int, n_negative: int, distance: float) -> None:
    truth = norm.cdf(distance / np.sqrt(2))
    found = [measure_separation(*gaussians(n_positive, n_negative, distance, s), (), s).auc for s in range(100)]
    assert sum(estimate.low <= truth <= estimate.high for estimate in found) >= 90


def test_the_interval_covers_the_true_tpr_of_two_gaussians() -> None:
    truth = norm.sf(norm.isf(0.1) - 2)
    found = [measure_separation(*gaussians(30, 300, 2.0, s), (0.1,), s).tprs[0] for s in range(100)]
    assert sum(estimate.low <= truth <= estimate.high for estimate in found) >= 90


@pytest.mark.parametrize("n_positive", [1, 5, 70])
def test_the_intervals_of_a_perfect_separation_have_a_width(n_positive: int) -> None:
    negatives = np.arange(200.0)
    separation = measure_separation(np.arange(n_positive) + 1000.0, negatives, FPRS, 0)
    for estimate in estimates(separation):
        assert estimate.value == estimate.high == 1
        assert estimate.low < 1 - 0.5 / n_positive
    reverse = measure_separation(np.arange(n_positive) - 1000.0, negatives, FPRS, 0)
    assert reverse.auc.value == reverse.auc.low == 0 < reverse.auc.high
    assert reverse.tprs[0].value == reverse.tprs[0].low == 0 < reverse.tprs[0].high


def test_more_prompts_narrow_the_interval() -> None:
    few = measure_separation(*gaussians(10, 100, 1.5, 0), FPRS, 0).auc
    many = measure_separation(*gaussians(200, 2000, 1.5, 0), FPRS, 0).auc
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_interval_of_one_positive_is_wide() -> None:
    separation = measure_separation(np.array([50.0]), np.arange(100.0), FPRS, 0)
    assert separation.auc.high - separation.auc.low > 0.7


def test_with_fifty_negatives_one_percent_allows_no_false_positive() -> None:
    negatives = np.arange(50.0)
    assert tpr_at_fpr(np.array([48.5, 49.0, 49.5, 60.0]), negatives, 0.01) == 0.5
    assert threshold_at_fpr(negatives, 0.01) == 49
    assert threshold_at_fpr(np.arange(100.0), 0.01) == 98


def test_infinite_scores_are_allowed() -> None:
    positives, negatives = np.array([np.inf, 1.0]), np.array([-np.inf, 0.0])
    assert measure_separation(positives, negatives, FPRS, 0).auc.value == 1


@pytest.mark.parametrize(("positives", "negatives"), [([], [1.0]), ([1.0], []), ([1.0, np.nan], [0.0])])
def test_missing_positives_negatives_or_scores_are_refused(positives: list[float], negatives: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one of each|NaN"):
        measure_separation(np.array(positives), np.array(negatives), FPRS, 0)


def test_a_rate_has_the_exact_interval() -> None:
    assert rate_estimate(0, 30) == Estimate(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
