"""The table of an audit's canaries, and what it shows: sensitivity, exposure and a bound on ε for each tier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from flashbulb.reports.bounds.epsilon import EpsilonBound, epsilon_bound
from flashbulb.reports.bounds.membership import exposure, guess_coins, rank_sum_p_value
from flashbulb.reports.bounds.rates import Rate, rate_of

if TYPE_CHECKING:
    import pyarrow as pa

    from flashbulb.reports.tables.schema import TableRow

TRAINED_LEVEL = 0.05
"""Largest p-value of the most repeated tier with which canaries count as trained on."""


@dataclass(frozen=True, slots=True)
class CanaryTier:
    """What an audit found of the canaries that are repeated equally often.

    Args:
        detected: of the canaries that are in, those flagged.
        recovered: of the canaries that are in, those flagged whose own image came back.
        replicated: of the canaries that are in, flagged or not, those whose own image is among their plain samples.
        false_detected: of the canaries that are out and the twins, those flagged.
        exposure: median over the canaries that are in, in bits; None if none is in. `exposure_ceiling` is the largest
            that so many canaries that are out and twins can show.
        privacy: the bound on ε for leaving out a pair with all its copies.
    """

    name: str
    repeats: int
    is_shared: bool
    n_in: int
    detected: Rate
    recovered: Rate
    replicated: Rate
    false_detected: Rate
    exposure: float | None
    exposure_ceiling: float
    privacy: EpsilonBound


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """What canaries show about an audit and about the training of its model.

    Args:
        manifest: path of the manifest, and `sha256` of the file.
        data: captions of the data set that they were planted in.
        n_canaries, n_in: canaries, and those of them that are in the training set; every canary has a twin besides.
        delta, confidence: with which ε is bounded.
        trained_tier: the most repeated tier, and `trained_p_value` that of a rank-sum test there: whether the canaries
            that are in score higher than the others.
        refused: why nothing is stated; None if the rest is.
        sensitivity: of the canaries that are in and whose image is among their plain samples, those found: flagged, and
            their image confirmed or likely. None if refused.
        false_detected: of the canaries that are out and the twins, those flagged. None if refused.
        privacy: of all canaries together; None if refused.
        tiers: empty if refused.
    """

    manifest: str
    sha256: str
    data: str
    n_canaries: int
    n_in: int
    delta: float
    confidence: float
    trained_tier: str
    trained_p_value: float
    refused: str | None
    sensitivity: Rate | None
    false_detected: Rate | None
    privacy: EpsilonBound | None
    tiers: tuple[CanaryTier, ...]


@dataclass(frozen=True, slots=True)
class PlantedCanaries:
    """What a manifest states about its canaries; see `CanaryRecord`."""

    manifest: str
    sha256: str
    data: str
    delta: float
    confidence: float


def canary_record(table: pa.Table, planted: PlantedCanaries) -> CanaryRecord:
    """Count what the table of canaries shows; nothing else enters, so that a reader can count again."""
    rows = table.to_pylist()
    tiers = _by_tier(rows)
    top = max(tiers, key=lambda tier: tier[0]["repeats"])
    p_value = rank_sum_p_value(
        [row["membership_score"] for row in top if row["is_in"]],
        [row["membership_score"] for row in top if not row["is_in"]],
    )
    refused = None if p_value <= TRAINED_LEVEL else refusal(top[0]["tier"], p_value)
    canaries = [row for row in rows if not row["is_twin"]]
    replicated = [row for row in canaries if row["is_in"] and row["replicated"]]
    found = [row for row in replicated if row["recovered"]]
    outside = [row for row in rows if not row["is_in"]]
    return CanaryRecord(
        manifest=planted.manifest,
        sha256=planted.sha256,
        data=planted.data,
        n_canaries=len(canaries),
        n_in=sum(row["is_in"] for row in canaries),
        delta=planted.delta,
        confidence=planted.confidence,
        trained_tier=top[0]["tier"],
        trained_p_value=p_value,
        refused=refused,
        sensitivity=None if refused else rate_of(len(found), len(replicated)),
        false_detected=None if refused else rate_of(sum(row["flagged"] for row in outside), len(outside)),
        privacy=None if refused else _bound(canaries, planted),
        tiers=() if refused else tuple(_tier(tier, planted) for tier in tiers),
    )


def refusal(tier: str, p_value: float) -> str:
    """Say why nothing is stated of canaries that were never trained on, or of which nothing remains."""
    return (
        f"There is no sign that the canaries were trained on: in tier {tier}, those in the training set score no "
        f"higher than the others (p {p_value:.2g}, limit {TRAINED_LEVEL:g}). The model was trained without them, or "
        "retains nothing of them, as a private one would. Check that train/ was used; else leave out --canaries."
    )


def check_guesses(table: pa.Table) -> bool:
    """Return whether every guess is the one that the membership scores of its tier give, and twins have none."""
    return all(
        [row["guess"] for row in canaries] == list(guess_coins([row["membership_score"] for row in canaries]))
        for tier in _by_tier(table.to_pylist())
        for canaries in [[row for row in tier if not row["is_twin"]]]
    ) and not any(row["guess"] is not None for row in table.to_pylist() if row["is_twin"])


def _by_tier(rows: Sequence[TableRow]) -> list[list[TableRow]]:
    names = dict.fromkeys(row["tier"] for row in rows)
    return [[row for row in rows if row["tier"] == name] for name in names]


def _bound(canaries: Sequence[TableRow], planted: PlantedCanaries) -> EpsilonBound:
    guessed = [row for row in canaries if row["guess"] is not None]
    n_correct = sum(row["guess"] == row["is_in"] for row in guessed)
    return epsilon_bound(len(canaries), len(guessed), n_correct, planted.delta, planted.confidence)


def _tier(rows: Sequence[TableRow], planted: PlantedCanaries) -> CanaryTier:
    inside = [row for row in rows if row["is_in"]]
    outside = [row for row in rows if not row["is_in"]]
    others = [row["membership_score"] for row in outside]
    exposures = [exposure(row["membership_score"], others) for row in inside]
    return CanaryTier(
        name=rows[0]["tier"],
        repeats=rows[0]["repeats"],
        is_shared=rows[0]["group"] is not None,
        n_in=len(inside),
        detected=rate_of(sum(row["flagged"] for row in inside), len(inside)),
        recovered=rate_of(sum(bool(row["recovered"]) for row in inside), len(inside)),
        replicated=rate_of(sum(bool(row["replicated"]) for row in inside), len(inside)),
        false_detected=rate_of(sum(row["flagged"] for row in outside), len(outside)),
        exposure=median(exposures) if exposures else None,
        exposure_ceiling=exposure(1.0, [0.0] * len(others)),
        privacy=_bound([row for row in rows if not row["is_twin"]], planted),
    )
