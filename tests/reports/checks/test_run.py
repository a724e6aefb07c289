"""Tables and run.json agree, byte for byte and count for count, or the run is untrusted."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flashbulb.reports.checks.rows import check_fingerprints, check_prompt_counts
from flashbulb.reports.checks.run import check_tables
from flashbulb.reports.tables.files import (
    MEMORIES_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.run_record import Counts, RunRecord
from flashbulb.reports.tables.schema import MEMORIES_SCHEMA, RECOVERIES_SCHEMA, scores_schema, write_table
from tests.reports.examples import (
    DETECTORS,
    attempt,
    attempts_table,
    memories_of,
    run_record,
    scores_table,
    write_other_tables,
)
from tests.reports.findings_examples import finding

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
    attempt("p0", "confirmed"),
    attempt("p1", "not_shown"),
    attempt("p1", "likely", "ascend"),
    attempt("p2", "not_shown", is_control=True),
    attempt("p2", "likely", "ascend", is_control=True, finding_id=None),
    attempt("p3", "not_shown", is_control=True),
    attempt("p3", "not_shown", "ascend", is_control=True),
    attempt(None, "confirmed", "discover", finding_id="f-search"),
]


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    """A record whose tables lie in `tmp_path`."""
    write_table(tmp_path / SCORES_FILE, scores_table(["a", "b", "c"]), scores_schema(DETECTORS), {})
    write_table(tmp_path / RECOVERIES_FILE, attempts_table(ROWS), RECOVERIES_SCHEMA, {})
    write_other_tables(tmp_path)
    write_table(tmp_path / MEMORIES_FILE, memories_of(attempts_table(ROWS)), MEMORIES_SCHEMA, {})
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
def test_every_count_that_the_verdict_uses_is_compared_with_the_tables(
    tmp_path: Path, run: RunRecord, name: str, change: int
) -> None:
    recorded = getattr(COUNTS, name) + change
    edited = replace(run, counts=replace(COUNTS, **{name: recorded}))
    with pytest.raises(RunIncompleteError, match=f"records {recorded} .*, the tables hold {recorded - change}"):
        check_tables(tmp_path, edited)


@pytest.mark.parametrize(
    "recovered_by",
    [{}, {"sample": 1, "ascend": 1}, {"sample": 2, "ascend": 0, "discover": 1}, {**COUNTS.recovered_by, "cyclic": 0}],
)
def test_recoveries_by_strategy_are_compared_with_the_tables(
    tmp_path: Path, run: RunRecord, recovered_by: dict[str, int]
) -> None:
    edited = replace(run, counts=replace(COUNTS, recovered_by=recovered_by))
    with pytest.raises(RunIncompleteError, match="recoveries by strategy, the tables hold"):
        check_tables(tmp_path, edited)


@pytest.mark.parametrize("change", [{"n": 0}, {"of": 3}, {"low": 0.0}, {"high": 0.1}])
def test_the_rate_of_false_recoveries_is_compared_with_the_tables(
    tmp_path: Path, run: RunRecord, change: dict[str, float]
) -> None:
    with pytest.raises(RunIncompleteError, match="rate of false recoveries, the tables hold"):
        check_tables(tmp_path, replace(run, false_recovery=replace(run.false_recovery, **change)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (attempt("p9", "confirmed", "[red]\x1b"), r"'\[red\]\\x1b' is no name of a strategy"),
        (attempt("p9", "not_shown", "guess"), "recoveries by strategy, the tables hold"),
        (attempt("p9", "maybe"), "unknown verdict 'maybe', expected confirmed"),
        (attempt(None, "not_shown", is_control=True), "a control has no prompt"),
    ],
)
def test_rows_that_a_count_would_skip_are_refused(
    tmp_path: Path, run: RunRecord, row: dict[str, Any], message: str
) -> None:
    path = tmp_path / RECOVERIES_FILE
    write_table(path, attempts_table([*ROWS, row]), RECOVERIES_SCHEMA, {})
    with pytest.raises(RunIncompleteError, match=message):
        check_tables(tmp_path, replace(run, tables={**run.tables, RECOVERIES_FILE: sha256_of(path)}))


@pytest.mark.parametrize("name", TABLE_FILES)
def test_a_missing_truncated_or_altered_table_is_refused(tmp_path: Path, run: RunRecord, name: str) -> None:
    content = (tmp_path / name).read_bytes()
    for altered in (b"", content[:-1], content + b"\0", content[:99] + b"\xff" + content[100:]):
        (tmp_path / name).write_bytes(altered)
        with pytest.raises(RunIncompleteError, match=r"is not the file that run\.json describes"):
            check_tables(tmp_path, run)
    (tmp_path / name).unlink()
    with pytest.raises(RunIncompleteError, match="does not exist"):
        check_tables(tmp_path, run)


def test_a_record_without_digests_is_refused(tmp_path: Path, run: RunRecord) -> None:
    with pytest.raises(RunIncompleteError, match="is not the file"):
        check_tables(tmp_path, replace(run, tables={}))


def test_two_findings_with_the_same_fingerprint_are_refused(tmp_path: Path) -> None:
    without_prompt = {"kind": "picture", "subject": "0001.png", "prompt_id": None}
    findings = [finding(**without_prompt, image="f-1"), finding(**without_prompt, image="f-2")]
    check_fingerprints(tmp_path, findings[:1])
    with pytest.raises(RunIncompleteError, match="two findings have the same fingerprint"):
        check_fingerprints(tmp_path, findings)


@pytest.mark.parametrize(
    ("n_rows", "n_prompts", "n_scored", "n_truncated", "trusted"),
    [
        (3, 3, 3, 0, True),
        (4, 3, 3, 0, False),
        (2, 3, 3, 0, False),
        (4, 4, 3, 0, True),
        (9, 4, 3, 0, True),
        (3, 4, 3, 0, False),
        (3, 3, 3, 4, False),
    ],
)
def test_rows_of_the_prompt_file_are_accounted_for(
    tmp_path: Path, n_rows: int, n_prompts: int, n_scored: int, n_truncated: int, trusted: bool
) -> None:
    counts = replace(COUNTS, n_rows=n_rows, n_prompts=n_prompts, n_scored=n_scored, n_truncated=n_truncated)
    with nullcontext() if trusted else pytest.raises(RunIncompleteError, match="rows with a text"):
        check_prompt_counts(tmp_path, scores_table(["a", "b", "c"]), counts, counts.n_prompts)
