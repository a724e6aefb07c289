"""The lower bound on ε is that of Steinke et al. (2023), and holds in as many training runs as it says."""

import math

import numpy as np
import pytest
from scipy import stats

from flashbulb.reports.bounds.epsilon import epsilon_bound, lower_epsilon, p_value
from flashbulb.reports.bounds.membership import guess_coins

N_DRAWS = 2000


def paper_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """The p-value of theorem 5.2, by scipy's binomial distribution."""
    guesses = stats.binom(r, math.exp(epsilon) / (1 + math.exp(epsilon)))
    alpha = max((sum(guesses.pmf(k) for k in range(v - i, v)) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, float(guesses.sf(v - 1)) + 2 * m * delta * alpha)


@pytest.mark.parametrize(("n", "ceiling"), [(32, 2.3), (100, 3.5), (1000, 5.8)])
def test_every_guess_right_gives_the_known_ceilings(n: int, ceiling: float) -> None:
    assert round(epsilon_bound(n, n, n, 0.0, 0.95).ceiling, 1) == ceiling


@pytest.mark.parametrize(
    ("m", "r", "v", "epsilon", "delta"),
    [(64, 42, 30, 0.7, 1e-5), (200, 150, 120, 1.2, 1e-3), (32, 32, 32, 2.0, 1e-2), (8, 4, 0, 0.5, 0.1)],
)
def test_the_p_value_is_that_of_the_theorem(m: int, r: int, v: int, epsilon: float, delta: float) -> None:
    assert p_value(m, r, v, epsilon, delta) == pytest.approx(paper_p_value(m, r, v, epsilon, delta), rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_bound_is_the_largest_epsilon_that_is_refuted(delta: float) -> None:
    bound = lower_epsilon(100, 60, 52, delta, 0.95)
    assert paper_p_value(100, 60, 52, bound - 1e-6, delta) < 0.05 <= paper_p_value(100, 60, 52, bound + 1e-6, delta)


def test_more_right_guesses_never_lower_the_bound() -> None:
    bounds = [lower_epsilon(40, 30, v, 1e-4, 0.95) for v in range(31)]
    assert bounds == sorted(bounds)
    assert bounds[15] == 0 < bounds[30]


def test_a_larger_delta_lowers_the_bound() -> None:
    bounds = [lower_epsilon(100, 60, 58, delta, 0.95) for delta in (0.0, 1e-4, 1e-3, 1e-2)]
    assert bounds == sorted(bounds, reverse=True)
    assert len(set(bounds)) == 4


def test_no_guess_shows_nothing() -> None:
    assert epsilon_bound(3, 0, 0, 1e-5, 0.95).ceiling == 0


@pytest.mark.parametrize("counts", [(10, 11, 3), (10, 5, 6), (10, 5, -1)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        lower_epsilon(*counts, 0.0, 0.95)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("m", [16, 64])
def test_the_bound_exceeds_a_known_epsilon_in_at_most_five_percent_of_runs(m: int, epsilon: float) -> None:
    """Randomized response tells each coin with probability e^ε / (1 + e^ε), which is exactly ε-private.

    Its reports, with noise to rank them by, are guessed as an audit guesses.
    """
    rng = np.random.default_rng([m, int(10 * epsilon)])
    bounds: dict[int, float] = {}
    n_above = 0
    for _ in range(N_DRAWS):
        coins = rng.random(m) < 0.5
        is_told = rng.random(m) < math.exp(epsilon) / (1 + math.exp(epsilon))
        guesses = guess_coins(((coins == is_told) + 0.5 * rng.random(m)).tolist())
        guessed = [(guess, coin) for guess, coin in zip(guesses, coins.tolist(), strict=True) if guess is not None]
        right = sum(guess == coin for guess, coin in guessed)
        n_above += bounds.setdefault(right, lower_epsilon(m, len(guessed), right, 0.0, 0.95)) > epsilon
    assert n_above <= stats.binom(N_DRAWS, 0.05).ppf(0.999)
    assert any(bounds.values()) or epsilon == 0  # the bound is not 0 whatever is guessed
