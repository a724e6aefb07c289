"""How often a prompt gives a memorized image: hits among its plain samples, with an exact interval.

A prompt is sampled with a few seeds, and with more where these leave the probability open. The decision to go on
depends on the images, so an interval of the last count alone would be too narrow. Every interval is therefore one of
Clopper and Pearson's at the confidence 1 - 0.05 / `N_LOOKS`: by the union bound all looks at a prompt together miss its
probability with a chance of at most 5 %, whatever made the sampling stop.

With a probability p per sample, n samples give the image at least once with probability 1 - (1 - p)^n, which is
(n, p)-discoverable extraction (Hayes et al., arXiv 2410.19482).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, comb, log

N_LOOKS = 3
"""Times at which a prompt's samples are counted, at most: after the first seeds, and after more seeds, twice."""
CONFIDENCE = 1 - 0.05 / N_LOOKS
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Replication:
    """`hits` of a prompt's `samples` plain samples show an image; `low` and `high` bound the probability per sample."""

    hits: int
    samples: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of samples that show the image."""
        return self.hits / self.samples


def replication_of(hits: int, samples: int) -> Replication:
    """Return the replication of an image at one of at most `N_LOOKS` looks; without samples, nothing is known."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: 1 - _at_most(hits - 1, samples, p), tail)
    high = 1.0 if hits == samples else _solve(lambda p: 1 - _at_most(hits, samples, p), 1 - tail)
    return Replication(hits, samples, low, high)


def samples_for(p: float, chance: float) -> int | None:
    """Return how many samples give an image at least once with `chance`, at `p` per sample; None if p is 0."""
    if p <= 0:
        return None
    return 1 if p >= chance else ceil(log(1 - chance) / log(1 - p) - 1e-9)


def replication_text(replication: Replication) -> str:
    """Format a replication: `6 of 16 seeds, p 0.38 (0.13 to 0.68)`."""
    if replication.samples == 0:
        return "no seed was tried"
    seeds = f"{replication.hits} of {replication.samples} seeds"
    return f"{seeds}, p {replication.share:.2g} ({replication.low:.2g} to {replication.high:.2g})"


def _at_most(hits: int, samples: int, p: float) -> float:
    """Probability of at most `hits` among `samples`."""
    return sum(comb(samples, k) * p**k * (1 - p) ** (samples - k) for k in range(hits + 1))


def _solve(rising: Callable[[float], float], value: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return low
