"""Intervals of rates are exact: they equal SciPy's, and hold the true rate as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flashbulb.reports.bounds.rates import (
    beta_quantile,
    chance_of_more,
    exact_interval,
    lower_bound,
    percent,
    rate_of,
    rate_text,
    upper_bound,
)

TRIALS = st.integers(1, 100_000)


@given(TRIALS, st.data())
def test_an_interval_equals_scipys(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = exact_interval(successes, trials)
    expected_low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
    expected_high = stats.beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
    assert (low, high) == pytest.approx((expected_low, expected_high), rel=1e-8)
    assert 0 <= low <= successes / trials <= high <= 1


@given(TRIALS, st.floats(0, 1), st.data())
def test_the_chance_of_more_equals_scipys(trials: int, rate: float, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    expected = stats.binom.sf(successes, trials, rate)
    assert chance_of_more(successes, trials, rate) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.floats(0.001, 0.999), st.floats(0.5, 1000), st.floats(0.5, 1000))
def test_a_quantile_of_the_beta_distribution_equals_scipys(share: float, a: float, b: float) -> None:
    assert beta_quantile(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-7)


@given(TRIALS)
def test_without_a_hit_the_upper_bound_has_a_closed_form(trials: int) -> None:
    assert upper_bound(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials))
    assert lower_bound(trials, trials) == pytest.approx(0.05 ** (1 / trials))


@pytest.mark.parametrize(("n_seeds", "bound"), [(4, 0.53), (64, 0.046)])
def test_no_replica_among_the_seeds_still_allows_this_probability(n_seeds: int, bound: float) -> None:
    assert upper_bound(0, n_seeds) == pytest.approx(bound, abs=0.005)


def test_without_trials_every_rate_is_possible() -> None:
    assert exact_interval(0, 0) == (0, 1)
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0, 1)


@pytest.mark.parametrize("trials", [1, 4, 40, 300])
def test_intervals_and_bounds_hold_the_true_rate_at_least_as_often_as_they_say(trials: int) -> None:
    counts = np.arange(trials + 1)
    intervals = np.array([exact_interval(n, trials) for n in counts.tolist()])
    bounds = np.array([upper_bound(n, trials) for n in counts.tolist()])
    for rate in np.linspace(0.001, 0.999, 101):
        probability = stats.binom.pmf(counts, trials, rate)  # of every outcome: no draws, no error of simulation
        assert probability[(intervals[:, 0] <= rate) & (rate <= intervals[:, 1])].sum() >= 0.95 - 1e-9
        assert probability[rate <= bounds].sum() >= 0.95 - 1e-9


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_rate_states_its_counts_and_its_interval(n: int, of: int) -> None:
    rate = rate_of(min(n, of), of)
    assert (rate.n, rate.of) == (min(n, of), of)
    assert (rate.low, rate.high) == exact_interval(min(n, of), of)
    text = rate_text(rate)
    assert text == "none were tried" if of == 0 else percent(rate.low) in text and percent(rate.high) in text


def test_counts_of_thousands_have_separators_as_elsewhere_on_the_pages() -> None:
    assert rate_text(rate_of(1020, 11_560)).startswith("1,020 of 11,560 (")
