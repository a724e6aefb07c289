"""The rows of the page's table of prompts: the most suspicious ones, so that a page opens whatever was audited."""

from collections.abc import Mapping
from typing import NamedTuple

from flashbulb.reports.page.labels import LONGEST_CELL, Labels
from flashbulb.reports.tables.recoveries import BestAttempt
from flashbulb.reports.tables.rows import Rows
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import BASE_SCORE, FINETUNE_SCORE
from flashbulb.reports.views.listed_prompts import known_by_base, most_suspicious
from flashbulb.reports.views.text import format_location

MAX_ROWS = 10_000
"""Prompts of the table, at most: 160 bytes of the page each."""


class PromptRow(NamedTuple):
    """The cells of one prompt as text; `anchor` is the id of its card, None if it has none."""

    prompt: str
    location: str
    spike_score: str
    p_value: str
    q_value: str
    severity: str
    image: str
    anchor: str | None


def prompt_rows(
    scores: Rows, best: Mapping[str, BestAttempt], anchors: Mapping[str, str], labels: Labels
) -> list[PromptRow]:
    """Return a row for each of the first `MAX_ROWS` prompts: flagged ones first, then by spike score.

    Prompts that tier 0 left out come last.

    Args:
        best: the best attempt on each prompt that was tried, by prompt_id.
        anchors: ids of cards, by prompt_id.
    """
    return [
        PromptRow(
            "" if labels.redact else labels.scored_prompt(row, LONGEST_CELL),
            format_location(row["source_file"], row["source_row"]),
            _cell(row["spike_score"]),
            _cell(row["p_value"]),
            _cell(row["q_value"]),
            row["severity"] if row["flagged"] else "",
            str(best.get(row["prompt_id"], "")),
            anchors.get(row["prompt_id"]),
        )
        for row in most_suspicious(scores, MAX_ROWS)
    ]


class KnownRow(NamedTuple):
    """The cells of a prompt that the base already knew."""

    prompt: str
    location: str
    base: str
    finetune: str
    difference: str
    flagged: str


class KnownRows(NamedTuple):
    """What the base already knew: in a sentence, and the prompts of its highest scores."""

    sentence: str
    rows: list[KnownRow]


def known_rows(run: RunRecord, scores: Rows, labels: Labels) -> KnownRows | None:
    """Return what the base already knew; None without a base."""
    known = known_by_base(run, scores)
    if known is None:
        return None
    return KnownRows(
        known.sentence,
        [
            KnownRow(
                "" if labels.redact else labels.scored_prompt(row, LONGEST_CELL),
                format_location(row["source_file"], row["source_row"]),
                _cell(row[BASE_SCORE]),
                _cell(row[FINETUNE_SCORE]),
                _cell(row["spike_score"]),
                "yes" if row["flagged"] else "",
            )
            for row in known.rows
        ],
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
