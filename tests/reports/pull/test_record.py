"""The record of a pull reads back as written, is never read as an audit, and its page shows untrusted paths as text."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.pull.markdown import pull_markdown
from flashbulb.reports.pull.record import PULL_SCHEMA, PullRecord, load_pull
from flashbulb.reports.pull.terminal import print_pull
from flashbulb.reports.tables.files import SCHEMA_VERSION, RunFileError, RunIncompleteError
from flashbulb.reports.tables.run_record import ModelIdentity, load_run

HOSTILE = "[red]x[/red] \x1b[31m\r\n\u202e`|` <b>.png"
RECORD = PullRecord(
    schema_version=SCHEMA_VERSION,
    status="pull",
    model=ModelIdentity("my-pipeline", "0123456789abcdef"),
    settings={"max_false": 0.02},
    inputs={"source": "images", "controls": "controls"},
    threshold=0.25,
    is_shown=True,
    n_images=2,
    n_tried=2,
    n_out=1,
    controls_out=rate_of(1, 99),
    evaluations={"rank": 16, "pull": 540},
    timings={"rank": 0.5, "pull": 2.0},
    versions={},
    tables={},
    warnings=(),
)


def write(folder: Path, **changes: Any) -> Path:
    (folder / "run.json").write_text(json.dumps({**asdict(RECORD), **changes}), encoding="utf-8")
    return folder


def table() -> pa.Table:
    rows = [
        {
            "image_id": f"{rank}",
            "path": HOSTILE,
            "is_control": False,
            "rank": rank,
            "familiarity": 1.0,
            "verdict": verdict,
            "evaluations": 270,
            "n_samples": 6,
            "n_copies": copies,
            "closeness": 0.5,
            "score": 1.5,
            "p_value": 0.01,
            "sample_path": "images/1.png" if verdict == "out" else None,
        }
        for rank, verdict, copies in ((1, "out", 5), (2, "not_out", 1))
    ]
    return pa.Table.from_pylist(rows, schema=PULL_SCHEMA)


def test_a_pull_reads_back_as_written(tmp_path: Path) -> None:
    assert load_pull(write(tmp_path)) == RECORD


@pytest.mark.parametrize("status", ["pull", "pulling"])
def test_a_pull_is_not_read_as_an_audit(tmp_path: Path, status: str) -> None:
    with pytest.raises(RunIncompleteError, match="belongs to a pull, not to an audit"):
        load_run(write(tmp_path, status=status))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"status": "pulling"}, RunIncompleteError, "not complete; run it again to finish it"),
        ({"status": "complete"}, RunFileError, "does not belong to a pull"),
        ({"n_out": -1}, RunIncompleteError, "n_out: input should be"),
        ({"schema_version": 1}, RunFileError, "run the pull again"),
    ],
)
def test_another_record_is_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_pull(write(tmp_path, **changes))


def test_the_page_states_counts_and_intervals_and_only_what_is_out() -> None:
    page = pull_markdown(RECORD, table())
    assert page.startswith("# Pull: 1 of 2 images out")
    assert "1 of 99 (1.01 %, 95 % interval 0.0256 % to 5.5 %) above the threshold that they set" in page
    assert "5 of 6" in page
    assert "1 of 6" not in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"controls_out": rate_of(0, 0), "is_shown": False}, "none; the threshold was chosen on planted models"),
        ({"controls_out": rate_of(0, 9), "is_shown": False}, "too few to show the share of never-trained images"),
    ],
)
def test_the_page_says_what_the_threshold_rests_on(changes: dict[str, Any], said: str) -> None:
    assert said in pull_markdown(replace(RECORD, **changes), table())


def test_a_pull_at_nothing_does_not_say_that_nothing_came_out() -> None:
    rows = table().slice(0, 0)
    assert "No image came out." in pull_markdown(RECORD, rows)
    unpaid = pull_markdown(replace(RECORD, n_tried=0, n_unpaid=1, n_out=0), rows)
    assert "No image was pulled at, so nothing shows whether one comes out." in unpaid
    unfamiliar = pull_markdown(replace(RECORD, n_tried=0, n_out=0), rows)
    assert "No image is more familiar to the model than half of the controls" in unfamiliar
    assert "No image came out." not in unpaid + unfamiliar


def test_a_hostile_path_stays_text(tmp_path: Path) -> None:
    page = pull_markdown(RECORD, table())
    stream = io.StringIO()
    print_pull(Console(file=stream, width=300), RECORD, table(), tmp_path)
    for text in (page, stream.getvalue()):
        assert not {"\x1b", "\r", "\u202e"} & set(text)
    rows = [line for line in page.splitlines() if "[red]x" in line]
    assert len(rows) == 1
    assert "[red]x[/red]" in stream.getvalue()
