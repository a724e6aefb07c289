"""The probability that a sample shows an image is bounded whatever made the sampling stop."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from flashbulb.reports.bounds.replication import (
    CONFIDENCE,
    how_often_text,
    replication_of,
    replication_text,
    samples_for,
)

TAIL = (1 - CONFIDENCE) / 2


@given(st.integers(1, 64).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_equal_those_of_clopper_and_pearson(counts: tuple[int, int]) -> None:
    hits, samples = counts
    found = replication_of(hits, samples)
    low = beta.ppf(TAIL, hits, samples - hits + 1) if hits else 0.0
    high = beta.ppf(1 - TAIL, hits + 1, samples - hits) if hits < samples else 1.0
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_without_samples_nothing_is_known() -> None:
    found = replication_of(0, 0)
    assert (found.low, found.high) == (0.0, 1.0)
    assert replication_text(found) == "no sample was tried"


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3, 0.6])
def test_bounds_hold_when_sampling_stops_as_soon_as_they_look_best(p: float) -> None:
    """The worst rule that stops by what it has seen: at the look whose interval misses p, if any does."""
    drawn, n, missed = random.Random(0), 2000, 0
    bounds = {(h, k): replication_of(h, k) for k in (4, 16, 64) for h in range(k + 1)}
    for _ in range(n):
        seeds = [drawn.random() < p for _ in range(64)]
        looks = [bounds[sum(seeds[:k]), k] for k in (4, 16, 64)]
        missed += any(not look.low <= p <= look.high for look in looks)
    assert missed / n <= 0.05


def test_samples_for_a_chance_are_the_fewest_that_reach_it() -> None:
    assert samples_for(0.0, 0.5) is None
    for p in (0.01, 0.1, 0.25, 0.5, 0.9, 1.0):
        for chance in (0.5, 0.9):
            n = samples_for(p, chance)
            assert n is not None
            assert 1 - (1 - p) ** n >= chance - 1e-9
            assert n == 1 or 1 - (1 - p) ** (n - 1) < chance


def test_text_states_seeds_and_bounds() -> None:
    assert replication_text(replication_of(6, 16)) == "6 of 16 samples (p 0.38, 95 % 0.12 to 0.69)"


def test_a_replication_says_within_how_many_samples_the_image_comes() -> None:
    assert how_often_text(replication_of(3, 16)).endswith("); 12 samples give it with 90 % chance (4 to 85)")
    assert how_often_text(replication_of(4, 4)).endswith("); 1 sample gives it with 90 % chance (1 to 7)")
    assert "chance" not in how_often_text(replication_of(0, 4))
