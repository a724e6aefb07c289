"""`run.json` reads back as written; a torn, unfinished or newer one is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashbulb.reports.tables.files import RUN_FILE, SCHEMA_VERSION, RunFileError, RunIncompleteError
from flashbulb.reports.tables.run_record import load_run, results_of
from tests.reports.examples import run_record
from tests.reports.run_files import write_record


def test_a_record_reads_back_as_written(tmp_path: Path) -> None:
    run = run_record()
    write_record(tmp_path, run)
    assert load_run(tmp_path) == run
    assert [file.name for file in tmp_path.iterdir()] == [RUN_FILE]
    assert results_of(run).n_confirmed_pictures == run.counts.n_confirmed_pictures


def test_a_missing_run_is_a_usage_error(tmp_path: Path) -> None:
    for directory, message in ((tmp_path / "nowhere", "is not a directory"), (tmp_path, "holds no run.json")):
        with pytest.raises(RunFileError, match=message) as caught:
            load_run(directory)
        assert not isinstance(caught.value, RunIncompleteError)


@pytest.mark.parametrize("keep", [0, 1, 40, -3])
def test_torn_json_is_refused(tmp_path: Path, keep: int) -> None:
    write_record(tmp_path, run_record())
    text = (tmp_path / RUN_FILE).read_text()
    (tmp_path / RUN_FILE).write_text(text[:keep])
    with pytest.raises(RunIncompleteError, match="not valid JSON"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff\xfe{"])
def test_other_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(RunIncompleteError):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1},
            RunFileError,
            f"schema version {SCHEMA_VERSION + 1}, this flashbulb reads up to {SCHEMA_VERSION}; upgrade flashbulb",
        ),
        (
            {"schema_version": 1},
            RunFileError,
            f"schema version 1, this flashbulb reads {SCHEMA_VERSION}; run the audit again",
        ),
        ({"schema_version": None}, RunFileError, "no schema_version"),
        ({"status": "running"}, RunIncompleteError, "status 'running'"),
        ({"status": "discovery"}, RunIncompleteError, "belongs to a discovery, not to an audit, and has no verdict"),
        ({"status": "discovering"}, RunIncompleteError, "belongs to a discovery, not to an audit, and has no verdict"),
        ({"counts": {}}, RunIncompleteError, "counts.n_rows: field required"),
        ({"timings": "long"}, RunIncompleteError, "timings"),
    ],
)
def test_changed_records_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[RunFileError], message: str
) -> None:
    write_record(tmp_path, run_record())
    content = json.loads((tmp_path / RUN_FILE).read_text()) | changes
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    with pytest.raises(error, match=message) as caught:
        load_run(tmp_path)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_record(tmp_path: Path) -> None:
    run = run_record()
    write_record(tmp_path, run)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path, run_record(timings={"step": float("nan")}))
    assert load_run(tmp_path) == run
    assert len(list(tmp_path.iterdir())) == 1
