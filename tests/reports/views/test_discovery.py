"""The record of a discovery reads back as written, its findings are shown, and it is never read as an audit."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.bounds.unseen import Unseen
from flashbulb.reports.tables.files import RUN_FILE, SCHEMA_VERSION, RunFileError, RunIncompleteError
from flashbulb.reports.tables.run_record import load_run
from flashbulb.reports.views.discovery import (
    STOP_MEANINGS,
    ClosingCounts,
    DiscoveryRecord,
    Finding,
    FindingWords,
    load_discovery,
)
from flashbulb.reports.views.discovery_markdown import discovery_markdown
from flashbulb.reports.views.discovery_terminal import print_discovery, print_finding, print_words
from tests.reports.examples import attempt, attempts_table, discovery_record, run_record
from tests.reports.run_files import write_record

HOSTILE = "[red]x[/red] \x1b[31m\r\n\u202e`|` <b>"


def findings_table() -> pa.Table:
    """The table of the two findings of `discovery_record`."""
    rows = [
        attempt(None, "confirmed", "discover", finding_id="finding-001", kind="template", fixed_share=0.4),
        attempt(None, "likely", "discover", finding_id="finding-002", image_path="images/finding-002/best.png"),
    ]
    return attempts_table(rows)


def test_a_discovery_reads_back_as_written(tmp_path: Path) -> None:
    write_record(tmp_path, discovery_record())
    assert load_discovery(tmp_path) == discovery_record()


@pytest.mark.parametrize("status", ["discovery", "discovering"])
def test_a_discovery_is_not_read_as_an_audit(tmp_path: Path, status: str) -> None:
    write_record(tmp_path, discovery_record(status=status))
    with pytest.raises(RunIncompleteError, match=r"belongs to a discovery, not to an audit") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_audit_is_not_read_as_a_discovery(tmp_path: Path) -> None:
    write_record(tmp_path, run_record())
    with pytest.raises(RunFileError, match=r"does not belong to a discovery \(status 'complete'\)"):
        load_discovery(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"schema_version": 1}, RunFileError, f"reads {SCHEMA_VERSION}; run the discovery again"),
        ({"status": "discovering"}, RunIncompleteError, "not complete; run it again to finish it"),
        ({"n_confirmed": 2}, RunIncompleteError, "records 2 confirmed findings but lists 1"),
        ({"findings": []}, RunIncompleteError, "records 1 confirmed findings but lists 0"),
        ({"stopped_because": "bored"}, RunIncompleteError, "stopped_because: input should be"),
        ({"n_rounds": None}, RunIncompleteError, "n_rounds: input should be a valid integer"),
    ],
)
def test_changed_discoveries_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[RunFileError], message: str
) -> None:
    write_record(tmp_path, discovery_record())
    content = json.loads((tmp_path / RUN_FILE).read_text()) | changes
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    with pytest.raises(error, match=message) as caught:
        load_discovery(tmp_path)
    assert type(caught.value) is error


def test_the_curve_ends_at_the_total_cost_of_the_search() -> None:
    assert discovery_record().curve == ((4_000, 1), (21_000, 2), (32_400, 2))
    assert discovery_record(findings=(), evaluations={}).curve == ((0, 0),)


def test_the_page_shows_the_findings_and_their_meaning() -> None:
    page = discovery_markdown(discovery_record(), findings_table())
    assert page.startswith("# Discovery: 1 confirmed, 1 likely\n")
    assert "| denoiser evaluations | 32400 of a budget of 50000 |" in page
    assert f"| stopped because | {STOP_MEANINGS['nothing_new']} |" in page
    assert "| `finding-001` | confirmed | 0.98 | template | 0.40 | `data/fox.png` | - | 4000 |" in page
    assert "| `finding-002` | likely | - | - | - | - | `images/finding-002/best.png` | 21000 |" in page
    assert "- **likely**: " in page
    assert "not a proof of absence" in page
    assert "| all | 32400 | 12.5 |" in page


def test_what_is_left_to_find_is_shown_with_its_interval() -> None:
    discovery, out = discovery_record(unseen=Unseen(11, 100, 0.0563, 0.2), stopped_because="little_left"), io.StringIO()
    line = "about 11 % of further finds would be new (95 % interval 6 to 20 %)"
    assert f"| left to find | {line} |" in discovery_markdown(discovery, findings_table())
    print_discovery(Console(file=out, width=140), discovery, Path("runs/me"))
    assert line in out.getvalue()
    assert "| left to find | not estimated, for no start showed a finding |" in discovery_markdown(
        discovery_record(), findings_table()
    )


def test_what_is_left_reads_back_as_written(tmp_path: Path) -> None:
    discovery = discovery_record(unseen=Unseen(0, 9, 0.0, 0.34))
    write_record(tmp_path, discovery)
    assert load_discovery(tmp_path) == discovery


WORDS = FindingWords("lodor | mar `x", rate_of(12, 16), "confirmed", "images/finding-002-words.png", confirms=True)


def worded_record() -> DiscoveryRecord:
    """The record of a discovery that searched words for both findings, and found some for the second."""
    first, second = discovery_record().findings
    findings = (first, replace(second, words=WORDS))
    return discovery_record(findings=findings, n_words_searched=2, words_evaluations=4_100)


def test_words_read_back_as_written(tmp_path: Path) -> None:
    write_record(tmp_path, worded_record())
    assert load_discovery(tmp_path) == worded_record()


def test_the_page_shows_prompts_in_words_with_their_probability() -> None:
    page = discovery_markdown(worded_record(), findings_table())
    assert "1 of 2 findings searched have a prompt" in page
    row = next(line for line in page.splitlines() if "finding-002-words.png" in line)
    assert "| 12 of 16 | 0.75 | 0.48 to 0.93 | confirmed, confirms the finding |" in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 8
    assert "| denoiser evaluations | 32400 of a budget of 50000 |" in page
    assert "| `words` | 4100 | – |" in page
    assert "Prompts in words" not in discovery_markdown(discovery_record(), findings_table())


def test_a_search_for_words_that_found_none_says_so() -> None:
    page = discovery_markdown(discovery_record(n_words_searched=1, words_evaluations=9), findings_table())
    assert "0 of 1 finding searched have a prompt" in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"findings": (), "n_confirmed": 0, "n_likely": 0}, "none searched, for there is no finding"),
        ({}, "none searched, for the time was over"),
        ({"n_words_searched": 2, "words_evaluations": 4_100}, "0 of 2 findings searched, 4,100 UE"),
    ],
)
def test_words_that_were_asked_for_are_never_left_out_in_silence(changes: dict[str, Any], says: str) -> None:
    discovery, out = discovery_record(settings={"words_budget": 5000}, **changes), io.StringIO()
    print_discovery(Console(file=out, width=140), discovery, Path("runs/me"))
    assert says in out.getvalue()
    assert f"| words | {says} |" in discovery_markdown(discovery, findings_table())


@pytest.mark.parametrize("width", [30, 200])
@pytest.mark.parametrize("words", [None, WORDS, replace(WORDS, text=HOSTILE)])
def test_words_are_printed_on_one_line(width: int, words: FindingWords | None) -> None:
    out = io.StringIO()
    print_words(Console(file=out, width=width), "finding-002", words)
    assert out.getvalue().count("\n") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out.getvalue())
    if width == 200 and words is not None:
        assert "p 0.75 (0.48-0.93)" in out.getvalue()


def test_closing_looks_are_read_back_and_shown_where_there_were_any(tmp_path: Path) -> None:
    closed = discovery_record(closing=ClosingCounts(n_looked=9, n_refused=4, n_repeated=1))
    write_record(tmp_path, closed)
    assert load_discovery(tmp_path) == closed
    says = "9, 4 findings refused (--no-closing-looks lists them), 1 show a surer one's image"
    out = io.StringIO()
    print_discovery(Console(file=out, width=200), closed, tmp_path)
    for shown in (discovery_markdown(closed, findings_table()), out.getvalue()):
        assert says in shown
    assert "closing looks" not in discovery_markdown(discovery_record(), findings_table())


def test_text_starts_are_counted_beside_the_others(tmp_path: Path) -> None:
    climbed, out = discovery_record(n_text_starts=3456), io.StringIO()
    write_record(tmp_path, climbed)
    assert load_discovery(tmp_path) == climbed
    says = "432 starts, 3,456 text starts without the denoiser"
    print_discovery(Console(file=out, width=140), climbed, tmp_path)
    assert f"| starts | {says} |" in discovery_markdown(climbed, findings_table())
    assert f"9 rounds, {says}" in out.getvalue()
    assert "| starts | 432 starts |" in discovery_markdown(discovery_record(), findings_table())


def test_a_search_limited_by_time_has_no_budget() -> None:
    discovery, out = discovery_record(budget=None), io.StringIO()
    print_discovery(Console(file=out, width=140), discovery, Path("runs/me"))
    assert "32,400 UE (baseline 400" in out.getvalue()
    assert "| denoiser evaluations | 32400 |" in discovery_markdown(discovery, findings_table())


def test_the_page_stays_small_for_any_number_of_findings() -> None:
    nothing = discovery_record(findings=(), n_confirmed=0, n_likely=0)
    assert "No memorized image was found." in discovery_markdown(nothing, attempts_table([]))
    many = tuple(Finding(f"finding-{n}", "likely", 0.5, n, "x" * 10_000) for n in range(5_000))
    page = discovery_markdown(discovery_record(findings=many), attempts_table([]))
    assert len(page.encode()) < 2**20
    assert "4900 more are in `recoveries.parquet`." in page


def test_untrusted_names_stay_in_their_cells() -> None:
    page = discovery_markdown(
        discovery_record(findings=(Finding("finding-001", "likely", 0.5, 1, HOSTILE),), warnings=(HOSTILE,)),
        findings_table(),
    )
    row = next(line for line in page.splitlines() if line.startswith("| `finding-001`"))
    assert row.count("|") == 9
    assert "<" not in re.sub(r"`[^`]*`", "", page)


@pytest.mark.parametrize("width", [30, 80, 200])
@pytest.mark.parametrize("confidence", [None, 0.973])
@pytest.mark.parametrize("nearest", [None, "data/fox.png", HOSTILE, "x" * 1000])
def test_a_finding_is_printed_on_one_line(width: int, confidence: float | None, nearest: str | None) -> None:
    out = io.StringIO()
    print_finding(Console(file=out, width=width), Finding("finding-001", "likely", confidence, 12_345, nearest))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("finding-001  likely")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out.getvalue())
    if width == 200 and nearest == HOSTILE:
        assert "after 12,345 UE  nearest [red]x[/red]" in out.getvalue()


@pytest.mark.parametrize(
    ("verdict", "nearest", "is_shown"),
    [("confirmed", "x.png", False), ("likely", "x.png", True), ("confirmed", None, True)],
)
def test_the_confidence_is_printed_unless_a_copy_decides(verdict: str, nearest: str | None, is_shown: bool) -> None:
    out = io.StringIO()
    print_finding(Console(file=out, width=200), Finding("finding-001", verdict, 0.0, 12_345, nearest))
    assert ("confidence 0.00" in out.getvalue()) is is_shown


def test_the_summary_shows_the_findings_and_the_cost() -> None:
    out = io.StringIO()
    print_discovery(Console(file=out, width=140), discovery_record(warnings=("[red]odd[/red]",)), Path("runs/[red]me"))
    text = out.getvalue()
    assert "1 confirmed, 1 likely" in text
    assert "32,400 of 50,000 UE (baseline 400, climb 30,000, verify 2,000)" in text
    assert STOP_MEANINGS["nothing_new"] in text
    assert "warning: [red]odd[/red]" in text
    assert "Read runs/[red]me/summary.md" in text
