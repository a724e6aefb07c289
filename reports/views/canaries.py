"""What planted canaries show, in sentences and as a table, for the page, summary.md and the terminal."""

from typing import NamedTuple

from flashbulb.reports.bounds.epsilon import EpsilonBound
from flashbulb.reports.bounds.rates import Rate, percent
from flashbulb.reports.tables.canaries import CanaryRecord, CanaryTier

HEADER = ("tier", "in", "detected", "recovered", "image replicates", "others detected", "exposure", "ε at least")


class CanaryRow(NamedTuple):
    """The cells of a tier, in the order of `HEADER`."""

    tier: str
    n_in: str
    detected: str
    recovered: str
    replicated: str
    false_detected: str
    exposure: str
    epsilon: str


def canary_rows(record: CanaryRecord) -> list[CanaryRow]:
    """Return a row for each tier."""
    return [_row(tier) for tier in record.tiers]


def _row(tier: CanaryTier) -> CanaryRow:
    exposure = "–" if tier.exposure is None else f"{tier.exposure:.1f} of {tier.exposure_ceiling:.1f} bits"
    epsilon = f"{tier.privacy.epsilon:.2f} of {tier.privacy.ceiling:.2f}"
    return CanaryRow(
        tier.name,
        str(tier.n_in),
        _rate(tier.detected),
        _rate(tier.recovered),
        _rate(tier.replicated),
        _rate(tier.false_detected),
        exposure,
        epsilon,
    )


def _rate(rate: Rate) -> str:
    return f"{rate.n} of {rate.of} ({percent(rate.low)} to {percent(rate.high)})" if rate.of else "none"


def canary_sentences(record: CanaryRecord) -> list[str]:
    """Say what the canaries are and what they show; why they show nothing, if they do not."""
    n_in, n = record.n_in, record.n_canaries
    planted = (
        f"{n:,} canaries were planted in the training set, each in by a fair coin: {n_in:,} are in, {n - n_in:,} and "
        f"{n:,} twins are not. They calibrate nothing and are no findings."
    )
    if record.refused is not None or record.sensitivity is None or record.privacy is None:
        return [planted, record.refused or ""]
    found, privacy = record.sensitivity, record.privacy
    sensitivity = (
        f"Sensitivity: of the {found.of} canaries whose image is among their plain samples, the audit found {found.n} "
        f"(95 % interval {percent(found.low)} to {percent(found.high)})."
        if found.of
        else "Sensitivity was not measured: no canary has its image among its plain samples."
    )
    return [planted, sensitivity, _privacy(privacy, record)]


def _privacy(bound: EpsilonBound, record: CanaryRecord) -> str:
    guessed = f"Privacy: {bound.n_correct} of {bound.n_guesses} guesses of coin flips were right."
    terms = f"confidence {percent(record.confidence)}, δ {record.delta:.9f}".rstrip("0")
    if bound.epsilon == 0:
        return f"{guessed} So many show nothing about ε ({terms}; every guess right would show {bound.ceiling:.2f})."
    return (
        f"{guessed} So training is not differentially private with an ε below {bound.epsilon:.2f} ({terms}; every "
        f"guess right would show {bound.ceiling:.2f}). This ε is that of leaving out a pair with all its copies. It is "
        "a lower bound: the true one may be far larger."
    )


TABLE_NOTE = (
    "Detected: flagged, of those in. Recovered: flagged, and their own image came back. Image replicates: their own "
    "image is among their plain samples, flagged or not. Others detected: of the canaries that are out and the twins. "
    "Exposure: the median in bits, and the most that can be shown. ε at least: the bound of this tier by itself, and "
    "what it would be with every guess right."
)
