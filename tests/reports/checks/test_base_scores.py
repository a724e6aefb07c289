"""Scores and z of an audit with a base model are differences, and those of other audits are not."""

from pathlib import Path

import pyarrow as pa
import pytest

from flashbulb.reports.checks.rows import check_base_scores, check_base_spikes
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.schema import BASE_SCORE, BASE_Z, FINETUNE_SCORE, FINETUNE_Z, KNOWN_BY_BASE
from tests.reports.examples import scores_table, spikes_table

PATH = Path("scores.parquet")


def with_base(**columns: list[object]) -> pa.Table:
    """Scores of two prompts, 2 and 1, as differences of two models."""
    table = scores_table(["a", "b"])
    values = {FINETUNE_SCORE: [2.5, 3.0], BASE_SCORE: [0.5, 2.0], KNOWN_BY_BASE: [False, True]} | columns
    for name, column in values.items():
        table = table.append_column(name, pa.array(column))
    return table


def test_differences_are_accepted_where_the_run_has_a_base() -> None:
    check_base_scores(PATH, with_base(), has_base=True)
    check_base_scores(PATH, scores_table(["a"]), has_base=False)


@pytest.mark.parametrize("name", [FINETUNE_SCORE, BASE_SCORE, KNOWN_BY_BASE])
def test_a_missing_or_left_over_column_is_refused(name: str) -> None:
    with pytest.raises(RunIncompleteError, match="names a base model"):
        check_base_scores(PATH, with_base().drop_columns([name]), has_base=True)
    with pytest.raises(RunIncompleteError, match="names no base model"):
        check_base_scores(PATH, with_base().select(["prompt_id", name]), has_base=False)


@pytest.mark.parametrize(
    "columns",
    [
        {BASE_SCORE: [0.5, 2.1]},
        {FINETUNE_SCORE: [2.5, None]},
        {KNOWN_BY_BASE: [None, True]},
        {FINETUNE_SCORE: [2.5, float("nan")]},
    ],
    ids=str,
)
def test_a_score_that_is_not_the_difference_is_refused(columns: dict[str, list[object]]) -> None:
    with pytest.raises(RunIncompleteError, match="not the difference"):
        check_base_scores(PATH, with_base(**columns), has_base=True)


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(RunIncompleteError, match="names a base model"):
        check_base_scores(PATH, with_base(**{KNOWN_BY_BASE: ["no", "yes"]}), has_base=True)


def spikes_with_base(**columns: list[object]) -> pa.Table:
    """Two neurons of z 9, as differences of two models."""
    table = spikes_table()
    for name, column in ({FINETUNE_Z: [9.5, 3.0], BASE_Z: [0.5, -6.0]} | columns).items():
        table = table.append_column(name, pa.array(column))
    return table


def test_z_as_differences_are_accepted_where_the_run_has_a_base() -> None:
    check_base_spikes(PATH, spikes_with_base(), has_base=True)
    check_base_spikes(PATH, spikes_table(), has_base=False)
    check_base_spikes(PATH, spikes_with_base().slice(0, 0), has_base=True)


@pytest.mark.parametrize("name", [FINETUNE_Z, BASE_Z])
def test_z_of_one_model_alone_are_refused(name: str) -> None:
    with pytest.raises(RunIncompleteError, match="names a base model"):
        check_base_spikes(PATH, spikes_with_base().drop_columns([name]), has_base=True)
    with pytest.raises(RunIncompleteError, match="names no base model"):
        check_base_spikes(PATH, spikes_with_base().drop_columns([name]), has_base=False)


@pytest.mark.parametrize(
    "columns", [{BASE_Z: [0.5, -6.1]}, {FINETUNE_Z: [9.5, None]}, {FINETUNE_Z: [9.5, float("nan")]}], ids=str
)
def test_a_z_that_is_not_the_difference_is_refused(columns: dict[str, list[object]]) -> None:
    with pytest.raises(RunIncompleteError, match="not the difference"):
        check_base_spikes(PATH, spikes_with_base(**columns), has_base=True)


def test_z_of_another_type_are_refused() -> None:
    with pytest.raises(RunIncompleteError, match="names a base model"):
        check_base_spikes(PATH, spikes_with_base(**{BASE_Z: ["0.5", "-6"]}), has_base=True)
