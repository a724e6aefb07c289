"""A sweep names its first failing checkpoint; distrust outranks failure, and its table holds every row."""

from dataclasses import replace

import pytest

from flashbulb.reports.tables.sweep import SWEEP_SCHEMA, sweep_document, sweep_table
from flashbulb.reports.tables.verdict import Outcome
from tests.reports.sweeps import ONSET, sweep_of, sweep_row


@pytest.mark.parametrize(
    ("gates", "outcome", "code", "first"),
    [
        (("pass", "pass"), "pass", 0, None),
        (("pass", "fail"), "fail", 1, "checkpoint-2"),
        (("fail", "pass"), "fail", 1, "checkpoint-1"),
        (("pass", "inconclusive"), "inconclusive", 0, None),
        (("inconclusive", "fail"), "fail", 1, "checkpoint-2"),
        (("untrusted", "fail"), "untrusted", 3, "checkpoint-2"),
        (("untrusted", "pass"), "untrusted", 3, None),
    ],
)
def test_the_first_failure_is_named_and_the_worst_outcome_counts(
    gates: tuple[Outcome, ...], outcome: Outcome, code: int, first: str | None
) -> None:
    sweep = sweep_of([sweep_row(step, gate=gate) for step, gate in enumerate(gates, 1)])
    assert (sweep.outcome, sweep.exit_code) == (outcome, code)
    assert (None if sweep.first_failing is None else sweep.first_failing.checkpoint) == first
    assert ("no checkpoint fails the gate" in sweep.sentence()) == (first is None)
    assert ("the audits of 1 checkpoint cannot be trusted" in sweep.sentence()) == (outcome == "untrusted")
    assert ("the audits of 1 checkpoint are inconclusive" in sweep.sentence()) == ("inconclusive" in gates)


def test_a_strict_sweep_exits_like_an_untrusted_one_if_it_is_inconclusive() -> None:
    sweep = replace(sweep_of([sweep_row(1, gate="inconclusive")]), strict=True)
    assert (sweep.outcome, sweep.exit_code) == ("inconclusive", 3)


def test_table_and_document_hold_the_same_rows() -> None:
    rows = sweep_table(ONSET).to_pylist()
    assert rows == [{**row, "reasons": list(row["reasons"])} for row in sweep_document(ONSET)["checkpoints"]]
    assert set(rows[0]) == set(SWEEP_SCHEMA.names)
    assert rows[2]["flagged_share"] == 0.025
    assert rows[2]["flagged_share_low"] < 0.025 < rows[2]["flagged_share_high"]
