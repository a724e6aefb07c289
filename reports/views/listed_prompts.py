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


def most_suspicious(scores: Rows, n: int) -> list[TableRow]:
    """Return the `n` most suspicious prompts: flagged ones first, then by spike score, those without a score last."""

    def rank(row: TableRow) -> tuple[bool, float]:
        score = row["spike_score"]
        return row["flagged"], float("-inf") if score is None else score

    return highest_rows(scores, n, ["flagged", "spike_score"], rank)


def suspects_of(scores: Rows, recoveries: pa.Table) -> list[Suspect]:
    """Return the ten most suspicious prompts, but none that tier 0 left out: those have no spike score."""
    attempts = best_attempts(recoveries)
    rows = [row for row in most_suspicious(scores, N_LISTED) if row["spike_score"] is not None]
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
        + (
            f", but {n_flagged:,} of them {'is' if n_flagged == 1 else 'are'} flagged by the difference as well."
            if n_flagged
            else "."
        )
    )

    def rank(row: TableRow) -> float | None:
        return row[BASE_SCORE] if row[KNOWN_BY_BASE] else None

    return KnownByBase(sentence, highest_rows(scores, N_LISTED, [KNOWN_BY_BASE, BASE_SCORE], rank))
