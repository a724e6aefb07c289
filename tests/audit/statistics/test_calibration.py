"""p-values are valid on clean prompts, thresholds agree with them, and outliers hardly change them."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.audit.statistics.calibration import (
    MIN_REFERENCE,
    assign_folds,
    cross_fit,
    fit_null,
    p_values,
    q_values,
    threshold_at,
)

SAMPLERS = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(sigma=1, size=n),
    "gamma": lambda rng, n: rng.gamma(0.5, size=n),
    "half normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "heavy tail": lambda rng, n: rng.pareto(3, size=n),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.8, 0.0, rng.exponential(size=n)),
}
N_DRAWS, N_REFERENCE, N_CLEAN = 40, 300, 300
RATES_SHOWN = np.array([0.001, 0.01, 0.05])

SCORES = st.lists(st.floats(0, 1e6), min_size=1, max_size=120).map(np.array)
ROUND_SCORES = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(lambda x: np.array(x, dtype=float))
RATES = st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.3])


@cache
def false_positive_rates(kind, contaminated):
    """Return the share of clean prompts flagged at `RATES_SHOWN`, for many draws of a reference: [draw, rate]."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(N_DRAWS):
        null = fit_null(SAMPLERS[kind](rng, N_REFERENCE), contaminated=contaminated)
        clean = SAMPLERS[kind](rng, N_CLEAN)
        rates.append([float((clean >= threshold_at(null, fpr)).mean()) for fpr in RATES_SHOWN])
    return np.array(rates)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_clean_prompts_are_flagged_at_the_stated_rate(kind):
    rates = false_positive_rates(kind, contaminated=False)
    mean, error = rates.mean(axis=0), 3 * rates.std(axis=0) / np.sqrt(N_DRAWS)
    assert (mean <= RATES_SHOWN + error + 1 / N_REFERENCE * (RATES_SHOWN < 1 / N_REFERENCE)).all()
    if kind != "mostly zero":
        assert (mean[1:] >= 0.6 * RATES_SHOWN[1:]).all()


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_null_that_allows_for_outliers_flags_few_clean_prompts(kind):
    mean = false_positive_rates(kind, contaminated=True).mean(axis=0)
    assert (mean <= 1.5 * RATES_SHOWN + 1 / N_REFERENCE).all()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("kind", ["exponential", "lognormal", "half normal"])
def test_memorized_prompts_among_those_that_calibrate_are_flagged(kind, share):
    rng = np.random.default_rng(1)
    n = 1000
    scores = SAMPLERS[kind](rng, n)
    n_memorized = max(1, int(share * n))
    scores[:n_memorized] = 1000 * (1 + rng.random(n_memorized))
    null = fit_null(scores, contaminated=True)
    flagged = scores >= threshold_at(null, 0.01)
    assert flagged[:n_memorized].all()
    assert flagged[n_memorized:].mean() <= 0.02


@given(SCORES | ROUND_SCORES, SCORES | ROUND_SCORES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_p_values_are_probabilities_that_decrease_with_the_score(reference, scores, contaminated):
    p = p_values(np.sort(scores), fit_null(reference, contaminated=contaminated))
    assert ((p > 0) & (p <= 1)).all()
    assert (np.diff(p) <= 0).all()


@given(SCORES | ROUND_SCORES, SCORES | ROUND_SCORES, RATES)
@settings(max_examples=100, deadline=None)
def test_threshold_and_p_values_flag_the_same_scores(reference, scores, fpr):
    null = fit_null(reference, contaminated=False)
    scores = np.concatenate([scores, reference])
    assert np.array_equal(scores >= threshold_at(null, fpr), p_values(scores, null) <= fpr)


@given(st.lists(st.floats(1e-12, 1), max_size=50).map(np.array))
@settings(max_examples=60, deadline=None)
def test_q_values_are_at_least_the_p_values_and_in_their_order(p):
    q = q_values(p, 0)
    assert q.shape == p.shape
    assert ((q >= p * (1 - 1e-12)) & (q <= 1)).all()
    assert (np.diff(q[np.argsort(p)]) >= -1e-15).all()


def test_prompts_that_were_left_out_are_tests_too():
    """Clean prompts of which a screen keeps the tenth with the lowest p-values are no discoveries."""
    p = np.sort(np.random.default_rng(0).random(2000))
    kept = p[:200]
    assert q_values(kept, 1800).min() > 0.1
    assert (q_values(kept, 0) <= 0.1).any()


def test_q_values_equal_the_definition():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.8])
    by_definition = [min(q * 5 / (1 + np.sum(p < q)) for q in p if q >= value) for value in p]
    np.testing.assert_allclose(q_values(p, 0), by_definition)


@pytest.mark.parametrize("n", [1, 4, 50, 300])
@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("contaminated", [False, True])
def test_a_constant_reference_flags_no_score_equal_to_it(n, value, contaminated):
    null = fit_null(np.full(n, value), contaminated=contaminated)
    assert p_values(np.array([value]), null) == [1.0]
    assert value < threshold_at(null, 0.01)
    beyond = p_values(np.array([value + 1]), null)
    assert beyond == [1 / (n + 1)]
    assert np.isinf(threshold_at(null, 0.01)) == (n < 99)


def test_few_prompts_without_a_tail_have_no_threshold_at_a_low_rate():
    null = fit_null(np.arange(8.0), contaminated=False)
    assert np.isinf(threshold_at(null, 0.01))
    assert np.isfinite(threshold_at(null, 1 / 9))


def test_every_prompt_is_left_out_of_exactly_one_baseline():
    rng = np.random.default_rng(2)
    activations = rng.normal(size=(23, 6)).astype(np.float32)
    folds, baselines = cross_fit(activations, 0)
    assert sorted(set(folds.tolist())) == list(range(len(baselines)))
    for fold, baseline in enumerate(baselines):
        np.testing.assert_allclose(baseline.location, np.median(activations[folds != fold], axis=0), rtol=1e-6)


@pytest.mark.parametrize("n", range(1, 12))
def test_folds_of_the_first_prompts_do_not_depend_on_how_many_follow(n):
    assert np.array_equal(assign_folds(n), assign_folds(40)[:n])


@pytest.mark.parametrize("n", range(MIN_REFERENCE))
def test_too_few_prompts_are_refused(n):
    with pytest.raises(ValueError, match=f"got {n}"):
        cross_fit(np.zeros((n, 3), dtype=np.float32), 0)


def test_the_smallest_allowed_number_of_prompts_is_enough():
    folds, baselines = cross_fit(np.eye(MIN_REFERENCE, dtype=np.float32), 40)
    assert len(baselines) == len(set(folds.tolist())) == MIN_REFERENCE
