"""The most suspicious prompts of a run, for the pages and terminals that name a few."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reports.recoveries import best_rungs

N_SUSPECTS = 10


class Suspect(NamedTuple):
    """A prompt's row of the scores, and in words what recovery brought of it."""

    row: Mapping[str, Any]
    picture: str


def suspects_of(scores: pa.Table, recoveries: pa.Table) -> list[Suspect]:
    """The first ten prompts, flagged ones first, then by spike score; what tier 0 left out is none."""
    judged = scores.filter(pc.is_valid(scores["spike_score"]))
    ordered = judged.sort_by([("flagged", "descending"), ("spike_score", "descending")]).slice(0, N_SUSPECTS)
    rungs = best_rungs(recoveries, ordered["prompt_id"].to_pylist())
    return [Suspect(row, str(rungs.get(row["prompt_id"], "not tried"))) for row in ordered.to_pylist()]
