"""What canaries show is counted from their table alone, by definitions that a person can check."""

from typing import Any

import pyarrow as pa

from flashbulb.reports.bounds.epsilon import lower_epsilon
from flashbulb.reports.bounds.membership import guess_coins
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.tables.canaries import (
    PlantedCanaries,
    canary_record,
    check_guesses,
)
from flashbulb.reports.tables.evidence import CANARIES_SCHEMA

PLANTED = PlantedCanaries("manifest.json", "0" * 64, "captions.csv", 1e-5, 0.95)
N = 12


def rows_of(tier: str, repeats: int, scores_in: float, group: str | None = None) -> list[dict[str, Any]]:
    """Twelve canaries, half of them in, and their twins; those that are in score higher by `scores_in`."""
    rows = []
    for kind in ("canary", "twin"):
        for i in range(N):
            is_in = kind == "canary" and i % 2 == 0
            score = (i * 7 % N) / N + (scores_in if is_in else 0.0)
            rows.append(
                {
                    "canary_id": f"{kind}-{tier}-{i}",
                    "tier": tier,
                    "repeats": repeats,
                    "group": group,
                    "is_twin": kind == "twin",
                    "is_in": is_in,
                    "prompt": f"{kind} {tier} {i}",
                    "image": f"{i}.png",
                    "spike_score": 1.0,
                    "p_value": 0.5,
                    "flagged": False,
                    "membership_score": score,
                    "guess": None,
                    "replicated": None,
                    "verdict": None,
                    "recovered": None,
                    "image_path": None,
                }
            )
    for row, guess in zip(rows, guess_coins([row["membership_score"] for row in rows[:N]]), strict=False):
        row["guess"] = guess
    return rows


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=CANARIES_SCHEMA)


def test_a_tier_counts_its_own_canaries() -> None:
    rows = rows_of("1x", 1, 0.0) + rows_of("16x", 16, 5.0)
    inside = [row for row in rows if row["tier"] == "16x" and row["is_in"]]
    for row in inside[:4]:
        row |= {"flagged": True, "replicated": True, "recovered": row is not inside[3], "verdict": "confirmed"}
    inside[4]["replicated"] = True
    rows[1]["flagged"] = True  # a canary of 1x that is out
    record = canary_record(table_of(rows), PLANTED)
    once, often = record.tiers
    assert (once.name, once.n_in, once.detected, once.false_detected) == ("1x", 6, rate_of(0, 6), rate_of(1, 18))
    assert (often.detected, often.recovered, often.replicated) == (rate_of(4, 6), rate_of(3, 6), rate_of(5, 6))
    assert record.sensitivity == rate_of(3, 5)
    assert (record.n_canaries, record.n_in, record.refused) == (24, 12, None)


def test_perfectly_told_canaries_have_the_ceilings() -> None:
    (tier,) = canary_record(table_of(rows_of("16x", 16, 5.0)), PLANTED).tiers
    assert tier.exposure == tier.exposure_ceiling
    assert tier.privacy.epsilon == tier.privacy.ceiling == lower_epsilon(12, 8, 8, 1e-5, 0.95)


def test_the_bound_of_all_canaries_counts_every_tier() -> None:
    record = canary_record(table_of(rows_of("1x", 1, 5.0) + rows_of("16x", 16, 5.0)), PLANTED)
    assert record.privacy is not None
    assert (record.privacy.n_canaries, record.privacy.n_guesses) == (24, 16)
    assert record.privacy.epsilon > record.tiers[0].privacy.epsilon


def test_canaries_that_left_no_trace_are_refused_whatever_the_other_tiers_show() -> None:
    record = canary_record(table_of(rows_of("1x", 1, 5.0) + rows_of("16x", 16, 0.0)), PLANTED)
    assert record.trained_tier == "16x"
    assert "no sign that the canaries were trained on" in str(record.refused)
    assert (record.sensitivity, record.privacy, record.tiers) == (None, None, ())


def test_guesses_that_the_scores_do_not_give_are_noticed() -> None:
    rows = rows_of("16x", 16, 5.0)
    assert check_guesses(table_of(rows))
    guessed = next(row for row in rows if row["guess"] is False)
    guessed["guess"] = True
    assert not check_guesses(table_of(rows))


def test_a_twin_has_no_guess() -> None:
    rows = rows_of("16x", 16, 5.0)
    rows[-1]["guess"] = True
    assert not check_guesses(table_of(rows))
