"""A discovery comes back as written, tells what it found, and is never taken for an audit."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from reports.discovery import STOP_MEANINGS, Finding, load_discovery, write_discovery
from reports.discovery_markdown import discovery_markdown
from reports.discovery_terminal import print_discovery, print_finding
from reports.files import RUN_FILE, RunFileError, RunIncompleteError
from reports.run_record import load_run, write_run
from tests.reports.examples import discovery_record, run_record, rung, rungs_table

HOSTILE = "[red]x[/red] \x1b[31m\r\n\u202e`|` <b>"


def found() -> pa.Table:
    """The table of the two pictures of `discovery_record`."""
    rows = [
        rung(None, "confirmed", "discover", finding_id="finding-001", kind="template", fixed_share=0.4),
        rung(None, "likely", "discover", finding_id="finding-002", image_path="images/finding-002/best.png"),
    ]
    return rungs_table(rows)


def test_a_discovery_comes_back_as_written(tmp_path: Path) -> None:
    write_discovery(tmp_path, discovery_record())
    assert load_discovery(tmp_path) == discovery_record()


@pytest.mark.parametrize("status", ["discovery", "discovering"])
def test_a_discovery_is_no_audit(tmp_path: Path, status: str) -> None:
    write_discovery(tmp_path, discovery_record(status=status))
    with pytest.raises(RunIncompleteError, match=r"is of a discovery, not of an audit") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_audit_is_no_discovery(tmp_path: Path) -> None:
    write_run(tmp_path, run_record())
    with pytest.raises(RunFileError, match=r"is not of a discovery \(status 'complete'\)"):
        load_discovery(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"schema_version": 1}, RunFileError, "reads 3; run the discovery again"),
        ({"status": "discovering"}, RunIncompleteError, "not complete; run it again to finish it"),
        ({"n_confirmed": 2}, RunIncompleteError, "states 2 confirmed findings and lists 1"),
        ({"findings": []}, RunIncompleteError, "states 1 confirmed findings and lists 0"),
        ({"stopped_because": "bored"}, RunIncompleteError, "stopped_because: input should be"),
        ({"n_rounds": None}, RunIncompleteError, "n_rounds: input should be a valid integer"),
    ],
)
def test_changed_discoveries_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[RunFileError], message: str
) -> None:
    write_discovery(tmp_path, discovery_record())
    content = json.loads((tmp_path / RUN_FILE).read_text()) | changes
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    with pytest.raises(error, match=message) as caught:
        load_discovery(tmp_path)
    assert type(caught.value) is error


def test_the_curve_ends_where_the_search_did() -> None:
    assert discovery_record().curve == ((4_000, 1), (21_000, 2), (32_400, 2))
    assert discovery_record(findings=(), evaluations={}).curve == ((0, 0),)


def test_the_page_says_what_was_found_and_what_it_means() -> None:
    page = discovery_markdown(discovery_record(), found())
    assert page.startswith("# Discovery: 1 confirmed, 1 likely\n")
    assert "| UNet evaluations | 32400 of a budget of 50000 |" in page
    assert f"| stopped because | {STOP_MEANINGS['nothing_new']} |" in page
    assert "| `finding-001` | confirmed | 0.98 | template | 0.40 | `data/fox.png` | - | 4000 |" in page
    assert "| `finding-002` | likely | - | - | - | - | `images/finding-002/best.png` | 21000 |" in page
    assert "- **likely**: " in page
    assert "not a proof of absence" in page
    assert "| all | 32400 | 12.5 |" in page


def test_a_search_limited_by_time_has_no_budget() -> None:
    discovery, out = discovery_record(budget=None), io.StringIO()
    print_discovery(Console(file=out, width=140), discovery, Path("runs/me"))
    assert "32,400 UE (baseline 400" in out.getvalue()
    assert "| UNet evaluations | 32400 |" in discovery_markdown(discovery, found())


def test_a_page_of_nothing_and_one_of_very_much_are_small() -> None:
    nothing = discovery_record(findings=(), n_confirmed=0, n_likely=0)
    assert "No memorized picture was found." in discovery_markdown(nothing, rungs_table([]))
    many = tuple(Finding(f"finding-{n}", "likely", 0.5, n, "x" * 10_000) for n in range(5_000))
    page = discovery_markdown(discovery_record(findings=many), rungs_table([]))
    assert len(page.encode()) < 2**20
    assert "4900 more are in `recoveries.parquet`." in page


def test_names_from_outside_stay_in_their_cells() -> None:
    page = discovery_markdown(
        discovery_record(findings=(Finding("finding-001", "likely", 0.5, 1, HOSTILE),), warnings=(HOSTILE,)), found()
    )
    row = next(line for line in page.splitlines() if line.startswith("| `finding-001`"))
    assert row.count("|") == 9
    assert "<" not in re.sub(r"`[^`]*`", "", page)


@pytest.mark.parametrize("width", [30, 80, 200])
@pytest.mark.parametrize("confidence", [None, 0.973])
@pytest.mark.parametrize("nearest", [None, "data/fox.png", HOSTILE, "x" * 1000])
def test_a_finding_is_one_line(width: int, confidence: float | None, nearest: str | None) -> None:
    out = io.StringIO()
    print_finding(Console(file=out, width=width), Finding("finding-001", "likely", confidence, 12_345, nearest))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("finding-001  likely")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out.getvalue())
    if width == 200 and nearest == HOSTILE:
        assert "after 12,345 UE  nearest [red]x[/red]" in out.getvalue()


def test_the_end_says_what_was_found_and_what_it_cost() -> None:
    out = io.StringIO()
    print_discovery(Console(file=out, width=140), discovery_record(warnings=("[red]odd[/red]",)), Path("runs/[red]me"))
    text = out.getvalue()
    assert "1 confirmed, 1 likely" in text
    assert "32,400 of 50,000 UE (baseline 400, climb 30,000, verify 2,000)" in text
    assert STOP_MEANINGS["nothing_new"] in text
    assert "warning: [red]odd[/red]" in text
    assert "Read runs/[red]me/summary.md" in text
