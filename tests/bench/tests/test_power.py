"""Bounds of an audit's power hold what they bound at least as often as they say, in simulated audits."""

import pytest

from tests.bench.power import band_coverage, false_finds_coverage, missed_coverage, share_coverage
from tests.cases import slow_unless_in

N_DRAWS = 1000
LEAST = 0.93
"""A nominal 95 % with the error of a thousand draws; these bounds are conservative, and most are far above."""


@pytest.mark.parametrize(
    ("share", "sensitivity", "n_prompts", "n_known"),
    [(0.01, 0.95, 300, 242), (0.01, 0.95, 3000, 242), (0.1, 0.8, 300, 20), (0.01, 0.5, 3000, 20)],
)
def test_the_bound_on_the_extractable_share_holds_it(
    share: float, sensitivity: float, n_prompts: int, n_known: int
) -> None:
    assert share_coverage(share, sensitivity, n_prompts, n_known, N_DRAWS) >= LEAST


@pytest.mark.parametrize(("n_extractable", "sensitivity", "n_known"), [(3, 0.95, 242), (30, 0.5, 242), (30, 0.8, 20)])
def test_the_bound_on_missed_prompts_holds_their_number(n_extractable: int, sensitivity: float, n_known: int) -> None:
    assert missed_coverage(n_extractable, sensitivity, 1000, n_known, N_DRAWS) >= LEAST


@pytest.mark.parametrize(("rate", "n_reference"), slow_unless_in([(0.02, 300)], [(0.02, 300), (0.1, 2000)]))
def test_the_interval_of_false_finds_holds_their_expected_share(rate: float, n_reference: int) -> None:
    assert false_finds_coverage(rate, 1000, 60, N_DRAWS, n_reference) >= LEAST


@pytest.mark.slow
def test_the_band_of_a_threshold_holds_its_true_rate_as_often_as_it_says() -> None:
    assert 0.87 <= band_coverage(300, 0.01, N_DRAWS) <= 0.93
