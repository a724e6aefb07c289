"""Rates and their confidence intervals, as numbers and as text."""

from dataclasses import dataclass
from functools import lru_cache
from math import exp, lgamma, log, log1p
from typing import NamedTuple

_MAX_TERMS, _PRECISION, _TINY = 100_000, 1e-15, 1e-300
_KEPT = 4096  # quantiles: a report, its summary and its check ask for the same intervals


class Interval(NamedTuple):
    """Bounds of a rate, both between 0 and 1."""

    low: float
    high: float


def exact_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the exact interval of a binomial rate (Clopper and Pearson 1934); without trials it is 0 to 1.

    It holds the true rate in at least this share of samples, whatever the rate.
    """
    one_sided = (1 + confidence) / 2
    return Interval(lower_bound(successes, trials, one_sided), upper_bound(successes, trials, one_sided))


def lower_bound(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided lower bound of a rate: what it is at least."""
    return 0.0 if successes == 0 else beta_quantile(1 - confidence, successes, trials - successes + 1)


def upper_bound(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound of a rate: the smallest rate that `successes` of `trials` exclude."""
    return 1.0 if successes == trials else beta_quantile(confidence, successes + 1, trials - successes)


def chance_of_more(successes: int, trials: int, rate: float) -> float:
    """Return the probability of more than `successes` in `trials` at this rate."""
    return 0.0 if successes >= trials else _beta_cdf(rate, successes + 1, trials - successes)


@lru_cache(_KEPT)
def beta_quantile(share: float, a: float, b: float) -> float:
    """Return the point below which a beta distribution has this share of its mass."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:  # until no float lies between
        low, high = (middle, high) if _beta_cdf(middle, a, b) < share else (low, middle)
    return middle


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function: SciPy's `betainc`, which the gate runs without."""
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below this point
        return 1 - _beta_cdf(1 - x, b, a)
    scale = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return scale * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function (Numerical Recipes 6.4, by Lentz's method)."""
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MAX_TERMS):
        before = fraction
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            c, d = _off_zero(1 + numerator / c), 1 / _off_zero(1 + numerator * d)
            fraction *= c * d
        if abs(fraction - before) <= _PRECISION * abs(fraction):
            return fraction
    raise ArithmeticError(f"the incomplete beta function at {x} with {a} and {b} did not converge")


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def percent(rate: float) -> str:
    """Format a rate: `1.5 %`."""
    return f"{100 * rate:.3g} %"


def count_text(n: int, noun: str) -> str:
    """Format a count with its noun: `1 prompt`, `1,156 prompts`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


@dataclass(frozen=True, slots=True)
class Rate:
    """`n` of `of` trials, with the bounds of its exact 95 % interval, which is 0 to 1 without trials."""

    n: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """`n / of`; an error without trials."""
        return self.n / self.of


def rate_of(n: int, of: int) -> Rate:
    """Return the rate `n / of` with its exact 95 % interval."""
    return Rate(n, of, *exact_interval(n, of))


def rate_text(rate: Rate) -> str:
    """Format a rate with its interval: `1 of 10 (10 %, 95 % interval 0.253 % to 44.5 %)`."""
    if rate.of == 0:
        return "none were tried"
    low, high = percent(rate.low), percent(rate.high)
    return f"{rate.n:,} of {rate.of:,} ({percent(rate.share)}, 95 % interval {low} to {high})"
