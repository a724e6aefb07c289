"""How often a prompt gives a memorized image: hits among its plain samples, with an exact interval.

A prompt is sampled with a few seeds, and with more where these leave the probability open. The decision to go on
depends on the images, so an interval of the last count alone would be too narrow. Every interval is therefore one of
Clopper and Pearson's at the confidence 1 - 0.05 / `N_LOOKS`: by the union bound all looks at a prompt together miss its
probability with a chance of at most 5 %, whatever made the sampling stop.

With a probability p per sample, n samples give the image at least once with probability 1 - (1 - p)^n, which is
(n, p)-discoverable extraction (Hayes et al., arXiv 2410.19482).
"""

from dataclasses import dataclass
from math import ceil, log

from flashbulb.reports.bounds.rates import exact_interval

N_LOOKS = 3
"""Times at which a prompt's samples are counted, at most: after the first seeds, and after more seeds, twice."""
CONFIDENCE = 1 - 0.05 / N_LOOKS
_CHANCE = 0.9
"""Chance of (n, p)-extraction for which the number of samples is stated."""


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
    return Replication(hits, samples, *exact_interval(hits, samples, CONFIDENCE))


def samples_for(p: float, chance: float) -> int | None:
    """Return how many samples give an image at least once with `chance`, at `p` per sample; None if p is 0."""
    if p <= 0:
        return None
    return 1 if p >= chance else ceil(log(1 - chance) / log(1 - p) - 1e-9)


def replication_text(replication: Replication) -> str:
    """Format a replication: `6 of 16 samples (p 0.38, 95 % 0.12 to 0.69)`."""
    if replication.samples == 0:
        return "no sample was tried"
    bounds = f"95 % {replication.low:.2g} to {replication.high:.2g}"
    return f"{replication.hits} of {replication.samples} samples (p {replication.share:.2g}, {bounds})"


def how_often_text(replication: Replication) -> str:
    """Format a replication with its (n, p)-extraction.

    For example: `3 of 16 samples (…); 12 samples give it with 90 % chance (4 to 85)`. The last numbers are those of the
    bounds of p.
    """
    text = replication_text(replication)
    if replication.hits == 0:
        return text
    typical, fewest, most = (samples_for(p, _CHANCE) for p in (replication.share, replication.high, replication.low))
    give = "1 sample gives" if typical == 1 else f"{typical} samples give"
    return f"{text}; {give} it with {100 * _CHANCE:.0f} % chance ({fewest} to {most})"
