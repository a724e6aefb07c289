"""AUC, average precision and TPR at a false-positive rate, with their intervals, against slow, obvious oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from audit import evaluate
from audit.evaluate import (
    Estimate,
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
def test_auc_is_the_share_of_pairs_in_the_right_order(positives: np.ndarray, negatives: np.ndarray) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert np.isclose(auc(positives, negatives), np.mean(pairs))


@given(scores, scores)
def test_auc_and_average_precision_are_those_of_scikit_learn(positives: np.ndarray, negatives: np.ndarray) -> None:
    labels, values = labelled(positives, negatives)
    assert np.isclose(auc(positives, negatives), roc_auc_score(labels, values))
    assert np.isclose(average_precision(positives, negatives), average_precision_score(labels, values))


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_tpr_is_the_best_among_thresholds_that_keep_the_rate(
    positives: np.ndarray, negatives: np.ndarray, fpr: float
) -> None:
    allowed = [t for t in [-1.0, *range(10)] if (negatives > t).mean() <= fpr + 1e-12]
    assert np.isclose(tpr_at_fpr(positives, negatives, fpr), max((positives > t).mean() for t in allowed))
    assert (negatives > threshold_at_fpr(negatives, fpr)).mean() <= fpr


@given(scores, scores)
def test_the_curve_holds_every_rate_and_encloses_the_auc(positives: np.ndarray, negatives: np.ndarray) -> None:
    fpr, tpr = roc_curve(positives, negatives)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.isclose(np.trapezoid(tpr, fpr), auc(positives, negatives))
    for rate in (0.0, 0.1, 0.5):
        assert np.isclose(tpr[fpr <= rate + 1e-12].max(), tpr_at_fpr(positives, negatives, rate))


@given(scores, scores)
def test_swapping_the_labels_turns_the_auc_around(positives: np.ndarray, negatives: np.ndarray) -> None:
    assert np.isclose(auc(negatives, positives), 1 - auc(positives, negatives))
    there = auc_interval(auc(positives, negatives), len(positives), len(negatives))
    back = auc_interval(auc(negatives, positives), len(negatives), len(positives))
    assert np.allclose(back, (1 - there.high, 1 - there.low))


def test_a_monotone_transform_changes_nothing() -> None:
    positives, negatives = gaussians(30, 200, 1.5, 0)
    before = measure_separation(positives, negatives, FPRS, 7)
    assert measure_separation(np.exp(positives) * 3, np.exp(negatives) * 3, FPRS, 7) == before


def test_equal_seeds_give_equal_intervals_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = gaussians(30, 200, 1.5, 0)
    first = measure_separation(*groups, FPRS, 1)
    assert measure_separation(*groups, FPRS, 1) == first
    assert measure_separation(*groups, FPRS, 2) != first
    monkeypatch.setattr(evaluate, "_MAX_COUNTS", 1000)  # a few resamples at a time
    for parts, whole in zip(estimates(measure_separation(*groups, FPRS, 1)), estimates(first), strict=True):
        assert parts.value == whole.value
        assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.06)


@given(scores, scores)
def test_every_interval_holds_its_value_and_stays_a_rate(positives: np.ndarray, negatives: np.ndarray) -> None:
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
def test_perfect_separation_is_not_certainty(n_positive: int) -> None:
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


def test_one_positive_leaves_nearly_everything_open() -> None:
    separation = measure_separation(np.array([50.0]), np.arange(100.0), FPRS, 0)
    assert separation.auc.high - separation.auc.low > 0.7


def test_with_fifty_negatives_one_percent_allows_no_false_positive() -> None:
    negatives = np.arange(50.0)
    assert tpr_at_fpr(np.array([48.5, 49.0, 49.5, 60.0]), negatives, 0.01) == 0.5
    assert threshold_at_fpr(negatives, 0.01) == 49
    assert threshold_at_fpr(np.arange(100.0), 0.01) == 98


def test_infinite_scores_are_scores() -> None:
    positives, negatives = np.array([np.inf, 1.0]), np.array([-np.inf, 0.0])
    assert measure_separation(positives, negatives, FPRS, 0).auc.value == 1


@pytest.mark.parametrize(("positives", "negatives"), [([], [1.0]), ([1.0], []), ([1.0, np.nan], [0.0])])
def test_what_cannot_be_measured_is_refused(positives: list[float], negatives: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one of each|NaN"):
        measure_separation(np.array(positives), np.array(negatives), FPRS, 0)


def test_a_rate_comes_with_wilsons_interval() -> None:
    assert rate_estimate(0, 30) == Estimate(0.0, 0.0, pytest.approx(0.1135, abs=1e-4))
