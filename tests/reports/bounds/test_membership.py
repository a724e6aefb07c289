"""Guesses, exposure and the rank-sum test are what their definitions say."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from flashbulb.reports.bounds.membership import exposure, guess_coins, n_guesses_of, rank_sum_p_value


def test_the_highest_third_is_guessed_in_and_the_lowest_out() -> None:
    assert guess_coins([3, 9, 1, 7, 5, 2]) == (None, True, False, True, None, False)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 31, 64])
def test_the_number_of_guesses_depends_on_the_number_of_canaries_alone(n: int) -> None:
    rng = np.random.default_rng(n)
    for scores in (rng.normal(size=n), rng.integers(2, size=n), np.zeros(n)):
        assert sum(guess is not None for guess in guess_coins(scores.tolist())) == n_guesses_of(n)


def test_exposure_counts_ranks_in_bits() -> None:
    others = list(range(15))
    assert [exposure(score, others) for score in (15, 13.5, 11.5, -1)] == [4, 3, 2, 0]


def test_an_exposure_is_not_raised_by_a_tie() -> None:
    assert exposure(1.0, [1.0, 0.0, 0.0]) == 1


@pytest.mark.parametrize(("n", "m"), [(4, 5), (8, 24), (30, 90), (3, 60)])
def test_the_rank_sum_test_equals_scipys(n: int, m: int) -> None:
    rng = np.random.default_rng([n, m])
    higher, others = rng.normal(0.4, 1, n).tolist(), rng.normal(0, 1, m).tolist()
    method = "exact" if n + m <= 40 else "asymptotic"
    expected = stats.mannwhitneyu(higher, others, alternative="greater", method=method).pvalue
    assert rank_sum_p_value(higher, others) == pytest.approx(expected, rel=1e-6)


def test_with_ties_the_rank_sum_test_counts_every_assignment() -> None:
    higher, others = [2.0, 3.0, 3.0], [1.0, 2.0, 2.0, 3.0]
    ranks = stats.rankdata([*higher, *others])
    sums = [sum(ranks[i] for i in chosen) for chosen in combinations(range(7), 3)]
    expected = np.mean([total >= sum(ranks[:3]) for total in sums])
    assert rank_sum_p_value(higher, others) == pytest.approx(expected)


def test_an_empty_set_shows_no_difference() -> None:
    assert rank_sum_p_value([], [1.0]) == rank_sum_p_value([1.0], []) == 1


@pytest.mark.parametrize("sizes", [(8, 24), (60, 180)])
def test_equal_sets_are_told_apart_at_the_stated_level(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sizes[0])
    p_values = [rank_sum_p_value(*(rng.normal(size=n).tolist() for n in sizes)) for _ in range(200)]
    assert sum(p <= 0.05 for p in p_values) <= stats.binom(200, 0.05).ppf(0.999)
