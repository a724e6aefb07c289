"""Tables and run.json tell one story, byte for byte and count for count, or the run is distrusted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.check import check_tables
from reports.files import (
    RECOVERIES_FILE,
    SCORES_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from reports.run_record import Counts, RunRecord
from reports.schema import RECOVERIES_SCHEMA, scores_schema, write_table
from tests.reports.examples import DETECTORS, run_record, rung, rungs_table, scores_table, write_other_tables

COUNTS = Counts(
    n_rows=3,
    n_empty=0,
    n_truncated=0,
    n_prompts=3,
    n_scored=3,
    n_left_out=0,
    n_flagged=2,
    n_high=2,
    n_confirmed_pictures=2,
    n_recovered=2,
    n_controls=2,
    n_false_recoveries=1,
    recovered_by={"sample": 1, "ascend": 1, "discover": 1},
)
ROWS = [
    rung("p0", "confirmed"),
    rung("p1", "not_shown"),
    rung("p1", "likely", "ascend"),
    rung("p2", "not_shown", is_control=True),
    rung("p2", "likely", "ascend", is_control=True, finding_id=None),
    rung("p3", "not_shown", is_control=True),
    rung("p3", "not_shown", "ascend", is_control=True),
    rung(None, "confirmed", "discover", finding_id="f-search"),
]


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    """A record whose tables lie in `tmp_path`."""
    write_table(tmp_path / SCORES_FILE, scores_table(["a", "b", "c"]), scores_schema(DETECTORS), {})
    write_table(tmp_path / RECOVERIES_FILE, rungs_table(ROWS), RECOVERIES_SCHEMA, {})
    write_other_tables(tmp_path)
    tables = {name: sha256_of(tmp_path / name) for name in TABLE_FILES}
    return run_record(counts=COUNTS, tables=tables)


def test_tables_that_agree_are_trusted(tmp_path: Path, run: RunRecord) -> None:
    check_tables(tmp_path, run)


@pytest.mark.parametrize(
    "name",
    [
        "n_scored",
        "n_left_out",
        "n_flagged",
        "n_high",
        "n_confirmed_pictures",
        "n_recovered",
        "n_controls",
        "n_false_recoveries",
    ],
)
@pytest.mark.parametrize("change", [-1, 1])
def test_every_count_that_the_verdict_uses_is_held_against_the_tables(
    tmp_path: Path, run: RunRecord, name: str, change: int
) -> None:
    stated = getattr(COUNTS, name) + change
    edited = replace(run, counts=replace(COUNTS, **{name: stated}))
    with pytest.raises(RunIncompleteError, match=f"states {stated} .*, the tables hold {stated - change}"):
        check_tables(tmp_path, edited)


@pytest.mark.parametrize(
    "recovered_by",
    [{}, {"sample": 1, "ascend": 1}, {"sample": 2, "ascend": 0, "discover": 1}, {**COUNTS.recovered_by, "cyclic": 0}],
)
def test_recoveries_by_strategy_are_held_against_the_tables(
    tmp_path: Path, run: RunRecord, recovered_by: dict[str, int]
) -> None:
    edited = replace(run, counts=replace(COUNTS, recovered_by=recovered_by))
    with pytest.raises(RunIncompleteError, match="recoveries by strategy, the tables hold"):
        check_tables(tmp_path, edited)


@pytest.mark.parametrize("change", [{"n": 0}, {"of": 3}, {"low": 0.0}, {"high": 0.1}])
def test_the_rate_of_false_recoveries_is_held_against_the_tables(
    tmp_path: Path, run: RunRecord, change: dict[str, float]
) -> None:
    with pytest.raises(RunIncompleteError, match="rate of false recoveries, the tables hold"):
        check_tables(tmp_path, replace(run, false_recovery=replace(run.false_recovery, **change)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (rung("p9", "confirmed", "guess"), "strategy 'guess' is none of sample, ascend"),
        (rung("p9", "maybe"), "verdict 'maybe' is none of confirmed"),
        (rung(None, "not_shown", is_control=True), "a control has no prompt"),
    ],
)
def test_rows_that_no_count_would_hold_are_distrusted(
    tmp_path: Path, run: RunRecord, row: dict[str, Any], message: str
) -> None:
    path = tmp_path / RECOVERIES_FILE
    write_table(path, rungs_table([*ROWS, row]), RECOVERIES_SCHEMA, {})
    with pytest.raises(RunIncompleteError, match=message):
        check_tables(tmp_path, replace(run, tables={**run.tables, RECOVERIES_FILE: sha256_of(path)}))


@pytest.mark.parametrize("name", TABLE_FILES)
def test_table_that_is_missing_torn_or_another_is_distrusted(tmp_path: Path, run: RunRecord, name: str) -> None:
    content = (tmp_path / name).read_bytes()
    for spoilt in (b"", content[:-1], content + b"\0", content[:99] + b"\xff" + content[100:]):
        (tmp_path / name).write_bytes(spoilt)
        with pytest.raises(RunIncompleteError, match=r"is not the file that run\.json describes"):
            check_tables(tmp_path, run)
    (tmp_path / name).unlink()
    with pytest.raises(RunIncompleteError, match="does not exist"):
        check_tables(tmp_path, run)


def test_record_without_digests_is_distrusted(tmp_path: Path, run: RunRecord) -> None:
    with pytest.raises(RunIncompleteError, match="is not the file"):
        check_tables(tmp_path, replace(run, tables={}))
