"""Rates and their confidence intervals, as numbers and as text."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """Bounds of a rate, both between 0 and 1."""

    low: float
    high: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the score interval of a binomial rate (Wilson 1927); without trials it is 0 to 1."""
    if trials == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == trials else centre + reach
    return Interval(low, high)


def percent(rate: float) -> str:
    """Format a rate: `1.5 %`."""
    return f"{100 * rate:.3g} %"


def count_text(n: int, noun: str) -> str:
    """Format a count with its noun: `1 prompt`, `1,156 prompts`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


@dataclass(frozen=True, slots=True)
class Rate:
    """`n` of `of` trials, with the bounds of the rate's 95 % interval, which is 0 to 1 without trials."""

    n: int
    of: int
    low: float
    high: float


def rate_of(n: int, of: int) -> Rate:
    """Return the rate `n / of` with its 95 % Wilson interval."""
    return Rate(n, of, *wilson_interval(n, of))


def rate_text(rate: Rate) -> str:
    """Format a rate with its interval: `1 of 10 (10 %, 95 % interval 1.79 % to 40.4 %)`."""
    if rate.of == 0:
        return "none were tried"
    low, high = percent(rate.low), percent(rate.high)
    return f"{rate.n} of {rate.of} ({percent(rate.n / rate.of)}, 95 % interval {low} to {high})"
