"""The prompts that summaries name: the most suspicious ones, and those that the base of a fine-tune knew already."""

from typing import NamedTuple

import pyarrow as pa

from flashbulb.reports.bounds.rates import count_text, percent
from flashbulb.reports.tables.recoveries import best_attempts
from flashbulb.reports.tables.rows import Rows, highest_rows, iter_rows
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import BASE_SCORE, KNOWN_BY_BASE, TableRow

N_LISTED = 10


class Suspect(NamedTuple):
    """A prompt's row of the scores, and the outcome of its recovery in words."""

    row: TableRow
    recovery: str


def suspects_of(scores: Rows, recoveries: pa.Table) -> list[Suspect]:
    """Return the ten most suspicious prompts: flagged ones first, then by spike score.

    Prompts that tier 0 left out have no spike score and are never among them.
    """

    def rank(row: TableRow) -> tuple[bool, float] | None:
        return None if row["spike_score"] is None else (row["flagged"], row["spike_score"])

    attempts, rows = best_attempts(recoveries), highest_rows(scores, N_LISTED, ["flagged", "spike_score"], rank)
    return [Suspect(row, str(attempts.get(row["prompt_id"], "not tried"))) for row in rows]


class KnownByBase(NamedTuple):
    """What the base knew, in a sentence, and the prompts on which its score is highest."""

    sentence: str
    rows: list[TableRow]


def known_by_base(run: RunRecord, scores: Rows) -> KnownByBase | None:
    """Return what the base of this run already knew; None without a base."""
    n_known = run.counts.n_known_by_base
    if n_known is None:
        return None
    n_flagged = sum(row["flagged"] for row in iter_rows(scores, [KNOWN_BY_BASE, "flagged"]) if row[KNOWN_BY_BASE])
    fpr, n_scored = run.calibration.fpr, scores.num_rows - run.counts.n_left_out
    sentence = (
        f"The base flags {count_text(n_known, 'prompt')} by its own score at a false-positive rate of {percent(fpr)} "
        f"(about {fpr * n_scored:.1f} expected by chance). These are no findings of the fine-tune"
        + (f", but {n_flagged:,} of them are flagged by the difference as well." if n_flagged else ".")
    )

    def rank(row: TableRow) -> float | None:
        return row[BASE_SCORE] if row[KNOWN_BY_BASE] else None

    return KnownByBase(sentence, highest_rows(scores, N_LISTED, [KNOWN_BY_BASE, BASE_SCORE], rank))
