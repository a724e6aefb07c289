"""The table of all prompts: a row each, flagged ones first, small enough for ten thousand of them."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from reports.findings import place_of
from reports.page_words import LONGEST_CELL, Words
from reports.recoveries import best_rungs


class Row(NamedTuple):
    """Cells of one prompt as text; `anchor` names its card, if it has one."""

    prompt: str
    place: str
    spike_score: str
    p_value: str
    q_value: str
    severity: str
    picture: str
    anchor: str | None


def rows_of(scores: pa.Table, recoveries: pa.Table, anchors: Mapping[str, str], words: Words) -> list[Row]:
    """All prompts, worst first; what tier 0 left out comes last."""
    columns = (
        *("prompt_id", "prompt", "source_file", "source_row", "spike_score"),
        *("p_value", "q_value", "flagged", "severity"),
    )
    rows = scores.select(columns).to_pylist()
    rows.sort(key=lambda row: (not row["flagged"], -(row["spike_score"] or float("-inf"))))
    pictures = best_rungs(recoveries, [row["prompt_id"] for row in rows])
    return [
        Row(
            "" if words.redact else words.of_row(row, LONGEST_CELL),
            place_of(row["source_file"], row["source_row"]),
            _cell(row["spike_score"]),
            _cell(row["p_value"]),
            _cell(row["q_value"]),
            row["severity"] if row["flagged"] else "",
            str(pictures.get(row["prompt_id"], "")),
            anchors.get(row["prompt_id"]),
        )
        for row in rows
    ]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
