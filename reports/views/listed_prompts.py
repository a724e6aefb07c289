"""The prompts that summaries name: the most suspicious ones, and those that the base of a fine-tune knew already."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flashbulb.reports.bounds.rates import count_text, percent
from flashbulb.reports.tables.recoveries import best_attempts
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import BASE_SCORE, KNOWN_BY_BASE, TableRow

N_LISTED = 10


class Suspect(NamedTuple):
    """A prompt's row of the scores, and the outcome of its recovery in words."""

    row: TableRow
    recovery: str


def suspects_of(scores: pa.Table, recoveries: pa.Table) -> list[Suspect]:
    """Return the ten most suspicious prompts: flagged ones first, then by spike score.

    Prompts that tier 0 left out have no spike score and are never among them.
    """
    scored = scores.filter(pc.is_valid(scores["spike_score"]))
    ordered = scored.sort_by([("flagged", "descending"), ("spike_score", "descending")]).slice(0, N_LISTED)
    attempts = best_attempts(recoveries, ordered["prompt_id"].to_pylist())
    return [Suspect(row, str(attempts.get(row["prompt_id"], "not tried"))) for row in ordered.to_pylist()]


class KnownByBase(NamedTuple):
    """What the base knew, in a sentence, and the prompts on which its score is highest."""

    sentence: str
    rows: list[TableRow]


def known_by_base(run: RunRecord, scores: pa.Table) -> KnownByBase | None:
    """Return what the base of this run already knew; None without a base."""
    n_known = run.counts.n_known_by_base
    if n_known is None:
        return None
    known = scores.filter(pc.fill_null(scores[KNOWN_BY_BASE], False))
    n_flagged = known["flagged"].to_pylist().count(True)
    fpr, n_scored = run.calibration.fpr, scores.num_rows - run.counts.n_left_out
    sentence = (
        f"The base flags {count_text(n_known, 'prompt')} by its own score at a false-positive rate of {percent(fpr)} "
        f"(about {fpr * n_scored:.1f} expected by chance). These are no findings of the fine-tune"
        + (f", but {n_flagged:,} of them are flagged by the difference as well." if n_flagged else ".")
    )
    return KnownByBase(sentence, known.sort_by([(BASE_SCORE, "descending")]).slice(0, N_LISTED).to_pylist())
