"""The table of all prompts: a row each, flagged ones first, small enough for ten thousand of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.findings import place_of
from reports.page_words import LONGEST_CELL, Words
from reports.recoveries import BestRung


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


def rows_of(
    scores: Sequence[Mapping[str, Any]], pictures: Mapping[str, BestRung], anchors: Mapping[str, str], words: Words
) -> list[Row]:
    """All prompts, worst first; what tier 0 left out comes last.

    Args:
        pictures: the best rung of each prompt that was tried.
    """
    rows = sorted(scores, key=lambda row: (not row["flagged"], -(row["spike_score"] or float("-inf"))))
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
