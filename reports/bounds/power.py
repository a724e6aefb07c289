"""What an audit could have found: the shares that it excludes at 95 %, and how much of what it found is false.

Every bound is exact (Clopper and Pearson) and one-sided: it says what could have been excluded. A bound on a share
divides by the lower bound of the sensitivity, the share of known memorized images that such an audit brings back. It
assumes that images are missed independently, and that the unknown ones are no harder to find than the known ones.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from flashbulb.reports.bounds.rates import Interval, Rate, beta_quantile, chance_of_more, exact_interval, upper_bound

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

CONFIDENCE = 0.95
LOW_FPR = 0.001
"""A false-positive rate whose flags are counted beside those of the audit's own."""
_MIN_ABOVE = 2
"""Reference prompts that set a threshold, at least: with one, the true rate may be a twentieth of the stated one."""
_BAND = (0.05, 0.95)
_EACH = 0.975
_LEAST_RATE = 1e-9
_WIDE_BAND = ((1 - _EACH) / 2, (1 + _EACH) / 2)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How many memorized images, of those known, an audit brings back.

    Args:
        source: `canaries` of the audited model itself, or `planted_models`, which are other models.
        found: known images that came back.
        at_least: the one-sided 95 % lower bound of that share.
        by_model: the same for each of the planted models; empty for canaries.
    """

    source: Literal["canaries", "planted_models"]
    found: Rate
    at_least: Share
    by_model: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class FlagsAt:
    """The flags at one false-positive rate.

    Args:
        n_flagged: prompts with a p-value of at most the rate.
        n_expected: how many of the prompts are flagged by chance, if none is memorized; `n_low` and `n_high` bound it,
            since the reference sets thresholds whose true rates are not quite the stated one. Canaries that are in no
            training set measure it where they refute the stated rate.
        fdr: the expected share of false flags; None without flags.
    """

    fpr: Share
    n_flagged: Count
    n_expected: float
    n_low: float
    n_high: float
    fdr: Share | None


@dataclass(frozen=True, slots=True)
class FalseFinds:
    """False flags whose image came back all the same, as some controls' did.

    Args:
        n_expected: expected false flags times the controls' rate of false recoveries.
        fdr: their share of the prompts whose image came back. `low` and `high` are its 95 % interval, from those of
            the controls' rate and of the false flags at 97.5 % each.
    """

    n_expected: float
    fdr: Share
    low: Share
    high: Share


@dataclass(frozen=True, slots=True)
class Power:
    """What the audit could have excluded at 95 %.

    Args:
        sensitivity: None if it is not known; then nothing about shares is.
        unknown_because: why it is not known.
        n_found, n_images: prompts whose image came back, and distinct images; likely ones included.
        n_untried: flagged prompts without a recovery attempt. Bounds count them as if their image had come back.
        n_samples: plain samples of each prompt that recovery tried.
        max_share: upper bound on the share of extractable prompts among prompts like these.
        max_image_share: the same, counting distinct images per prompt.
        max_missed: the most of these very prompts that may be extractable without having been found.
        max_seed_probability: upper bound on the probability per seed of a prompt whose samples show nothing.
        flags: at the audit's rate, and at a lower one, if the reference supports them.
        unsupported: those of the two rates that it does not support. Nothing is stated at them. Where canaries refute
            the audit's rate, the lower one stands nowhere.
        false_finds: None without controls, recovered images, or a reference that supports the audit's rate.
    """

    sensitivity: Sensitivity | None
    unknown_because: str | None
    n_prompts: Count
    n_found: Count
    n_images: Count
    n_untried: Count
    n_samples: Count
    max_share: Share | None
    max_image_share: Share | None
    max_missed: Count | None
    max_seed_probability: Share
    flags: tuple[FlagsAt, ...]
    unsupported: tuple[Share, ...]
    false_finds: FalseFinds | None


class StyleSize(NamedTuple):
    """A style that the reference has: how many reference prompts calibrate it, and how many candidates are of it."""

    n_reference: int
    n_candidates: int


def share_bound(n_found: int, n_prompts: int, sensitivity: float) -> float:
    """Return the largest share of extractable prompts that `n_found` of `n_prompts` leave possible at 95 %."""
    return min(1.0, upper_bound(n_found, n_prompts, CONFIDENCE) / sensitivity) if sensitivity else 1.0


def missed_bound(n_found: int, n_prompts: int, sensitivity: float) -> int:
    """Return the most of these prompts that may be extractable without having been found, at 95 %."""
    totals = range(n_found, n_prompts + 1)
    excluded = bisect_left(totals, True, key=lambda n: chance_of_more(n_found, n, sensitivity) >= CONFIDENCE)
    return excluded - 1


def detection_power(n_found: int, n_prompts: int, sensitivity: float, share: float) -> float:
    """Return the probability that the audit finds more than `n_found`, if `share` of such prompts is extractable."""
    return chance_of_more(n_found, n_prompts, sensitivity * share)


def prompts_needed(n_found: int, sensitivity: float, share: float, power: float) -> int | None:
    """Return how many prompts have this power if `n_found` are found; None if no number worth naming has."""
    rate = sensitivity * share
    if rate < _LEAST_RATE:
        return None
    enough = n_found + 1
    while chance_of_more(n_found, enough, rate) < power:
        enough *= 2
    sizes = range(n_found + 1, enough + 1)
    return sizes[bisect_left(sizes, True, key=lambda n: chance_of_more(n_found, n, rate) >= power)]


def n_above_threshold(n_reference: int, fpr: float) -> int:
    """Return how many of `n_reference` scores a conformal threshold at this rate leaves above it, and itself."""
    return floor(fpr * (n_reference + 1) + 1e-9)


def conformal_band(n_reference: int, fpr: float) -> Interval | None:
    """Return where the true false-positive rate of a conformal threshold lies in 90 % of references of this size.

    It has a beta distribution (Vovk 2012). None if the reference is too small for ranks: the fitted tail then sets the
    threshold, whose rate has no such guarantee.
    """
    return _true_rate(n_reference, fpr, _BAND) if n_above_threshold(n_reference, fpr) else None


def _true_rate(n_reference: int, fpr: float, shares: tuple[float, float]) -> Interval:
    """Return these quantiles of a threshold's true rate; beyond ranks, 0 and that of the largest reference score."""
    n_above = n_above_threshold(n_reference, fpr)
    low, high = (beta_quantile(share, max(n_above, 1), n_reference + 1 - max(n_above, 1)) for share in shares)
    return Interval(low if n_above else 0.0, high)


def supports(styles: Sequence[StyleSize], fpr: float) -> bool:
    """Return whether the reference prompts of all styles together are enough for thresholds at this rate."""
    return sum(n_above_threshold(style.n_reference, fpr) for style in styles) >= _MIN_ABOVE


def reference_needed(fpr: float) -> int:
    """Return how many reference prompts of one style support this rate."""
    return ceil(_MIN_ABOVE / fpr - 1e-9) - 1


def flags_at(fpr: float, n_flagged: int, n_scored: int, styles: Sequence[StyleSize]) -> FlagsAt:
    """State the flags at a rate that the reference supports.

    The stated rate is taken as it is for candidates of other styles, which calibrate themselves.
    """
    expected = fpr * n_scored
    bands = [(style.n_candidates, _true_rate(style.n_reference, fpr, _WIDE_BAND)) for style in styles]
    low, high = (max(0.0, expected + sum(n * (band[end] - fpr) for n, band in bands)) for end in (0, 1))
    return FlagsAt(fpr, n_flagged, expected, low, high, min(1.0, expected / n_flagged) if n_flagged else None)


def flags_at_measured(flags: FlagsAt, n_scored: int, measured: Rate) -> FlagsAt:
    """Expect false flags at a rate that was measured on prompts known to be no training captions."""
    expected, bounds = n_scored * measured.n / measured.of, exact_interval(measured.n, measured.of, _EACH)
    fdr = min(1.0, expected / flags.n_flagged) if flags.n_flagged else None
    return FlagsAt(flags.fpr, flags.n_flagged, expected, n_scored * bounds.low, n_scored * bounds.high, fdr)


def false_finds(flags: FlagsAt | None, n_found: int, n_controls: int, n_false: int) -> FalseFinds | None:
    """Estimate how many of the prompts whose image came back were flagged by chance and leave little to chance.

    A false flag gives an image as often as a control, which is an unflagged prompt. At most all flags are false.
    """
    if flags is None or not n_found or not n_controls:
        return None
    expected, low = (min(n, flags.n_flagged) for n in (flags.n_expected, flags.n_low))
    n_expected, rate = expected * n_false / n_controls, exact_interval(n_false, n_controls, _EACH)
    finds = (n_expected, low * rate.low, flags.n_high * rate.high)
    return FalseFinds(n_expected, *(min(1.0, n / n_found) for n in finds))
