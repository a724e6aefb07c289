"""The most suspicious prompts of a run, for summaries that name only a few."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flashbulb.reports.tables.recoveries import best_attempts
from flashbulb.reports.tables.schema import TableRow

N_SUSPECTS = 10


class Suspect(NamedTuple):
    """A prompt's row of the scores, and the outcome of its recovery in words."""

    row: TableRow
    recovery: str


def suspects_of(scores: pa.Table, recoveries: pa.Table) -> list[Suspect]:
    """Return the ten most suspicious prompts: flagged ones first, then by spike score.

    Prompts that tier 0 left out have no spike score and are never among them.
    """
    scored = scores.filter(pc.is_valid(scores["spike_score"]))
    ordered = scored.sort_by([("flagged", "descending"), ("spike_score", "descending")]).slice(0, N_SUSPECTS)
    attempts = best_attempts(recoveries, ordered["prompt_id"].to_pylist())
    return [Suspect(row, str(attempts.get(row["prompt_id"], "not tried"))) for row in ordered.to_pylist()]
