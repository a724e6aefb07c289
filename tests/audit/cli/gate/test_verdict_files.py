"""An audit writes the same verdict in every format, or in none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from flashbulb import AuditResult
from flashbulb.reports.gate.findings_file import FINDINGS_SCHEMA
from flashbulb.reports.gate.waivers import read_waivers
from flashbulb.reports.tables.files import REPORT_FILE, VERDICT_FILES
from tests.audit.commands import CANDIDATES, ODD, ROOT, run_flashbulb, run_json, shards
from tests.reports.run_files import read_metadata

ELEMENTS = {"pass": [], "inconclusive": [Skipped], "fail": [Failure], "untrusted": [Error]}
HEADLINES = {
    "pass": "pass",
    "inconclusive": "inconclusive",
    "fail": "gate failed",
    "untrusted": "not to be trusted",
}
FAR = "2099-01-01"


def verdicts(run: Path) -> set[tuple[str, int]]:
    """Return outcome and exit code from each file of a run."""
    verdict = run_json(run)["verdict"]
    (sarif,) = json.loads((run / "results.sarif").read_text(encoding="utf-8"))["runs"]
    cases = [case for suite in JUnitXml.fromfile(str(run / "junit.xml")) for case in suite]
    outcome = next(name for name, types in ELEMENTS.items() if [type(result) for result in cases[0].result] == types)
    page = (run / "summary.md").read_text(encoding="utf-8")
    headline = next(name for name, words in HEADLINES.items() if page.startswith(f"# Memorization audit: {words}\n"))
    footer = read_metadata(run / "findings.parquet")
    lines = pl.read_ndjson(run / "findings.jsonl", schema_overrides={"exit_code": pl.Int64})
    code = {"pass": 0, "inconclusive": 0, "fail": 1, "untrusted": 3}
    return {
        (verdict["outcome"], verdict["exit_code"]),
        (sarif["properties"]["outcome"], sarif["invocations"][0]["exitCode"]),
        (outcome, code[outcome]),
        (headline, code[headline]),
        (footer["outcome"], int(footer["exit_code"])),
        *zip(lines["outcome"], lines["exit_code"], strict=True),
    }


@pytest.fixture
def audit(finished: Any, copied: Path) -> Callable[..., Any]:
    """Return a function that audits again into the copy, whose recordings and images are finished."""
    options = [copied if option == finished.run else option for option in finished.options]
    return lambda *more: run_flashbulb("audit", *options, *more)


def test_every_file_states_the_verdict_without_prompts(finished: Any) -> None:
    assert verdicts(finished.run) == {("fail", 1)}
    assert pl.read_parquet(finished.run / "findings.parquet").columns == FINDINGS_SCHEMA.names
    texts = {name: (finished.run / name).read_bytes() for name in VERDICT_FILES if name != REPORT_FILE}
    assert not [name for name, text in texts.items() for prompt in CANDIDATES if prompt.encode() in text]
    assert run_json(finished.run)["policy"]["max_high"] == 0
    assert run_json(finished.run)["notes"] == []


def test_report_shows_prompts_and_images_by_default(audit: Callable[..., Any], copied: Path) -> None:
    page = (copied / REPORT_FILE).read_text(encoding="utf-8")
    assert ODD in page
    assert "Failed: a limit of the policy is exceeded" in page
    assert "image/webp" in page
    assert audit("--redact-prompts", "--blur").code == 0
    hidden = (copied / REPORT_FILE).read_text(encoding="utf-8")
    assert ODD not in hidden
    assert "Images are blurred." in hidden
    assert run_flashbulb("report", copied).code == 0  # a page made again shows no more than the audit was told
    assert (copied / REPORT_FILE).read_text(encoding="utf-8") == hidden
    again = AuditResult(copied).report(copied.parent / "again.html").read_text(encoding="utf-8")
    assert ODD not in again
    assert "Images are blurred." in again
    assert run_flashbulb("report", copied, "--no-redact-prompts", "--no-blur").code == 0
    shown = (copied / REPORT_FILE).read_text(encoding="utf-8")
    assert ODD in shown
    assert "Images are blurred." not in shown


def test_prompts_are_shown_on_request(audit: Callable[..., Any], copied: Path) -> None:
    assert audit("--show-prompts").code == 0
    assert not [name for name in VERDICT_FILES if ODD.encode() not in (copied / name).read_bytes()]


def test_policy_rejudges_a_finished_audit(audit: Callable[..., Any], copied: Path, tmp_path: Path) -> None:
    before, policy = shards(copied), tmp_path / "policy.toml"
    for text, outcome, code in (
        ("max_high = 9\nmax_confirmed = 9\nmax_extractable_share = 1.0\nmin_power = 0.0\n", "pass", 0),
        ("max_high = 9\nmax_confirmed = 9\nmax_extractable_share = 1.0\n", "inconclusive", 0),
        ("max_high = 9\nmax_confirmed = 9\nmax_low = 0\nmax_medium = 0\nmax_flagged_rate = 0\n", "fail", 1),
        ("max_style_shift = 0.5\n", "untrusted", 3),
    ):
        policy.write_text(text, encoding="utf-8")
        assert audit("--gate", "--policy", policy).code == code
        assert verdicts(copied) == {(outcome, code)}
        assert run_flashbulb("gate", copied, "--policy", policy).code == code
    assert run_json(copied)["policy"]["max_style_shift"] == 0.5
    assert run_json(copied)["settings"]["policy"] == str(policy)
    assert shards(copied) == before


def test_waived_findings_are_shown_in_every_file_and_not_counted(
    audit: Callable[..., Any], copied: Path, tmp_path: Path
) -> None:
    waivers = tmp_path / "waivers.toml"
    rows = pl.read_ndjson(copied / "findings.jsonl").filter(pl.col("standing") == "breaks")
    words = ("--reason", "public domain", "--owner", "ana", "--expires", FAR, "--run", copied)
    for fingerprint in rows["fingerprint"]:
        assert run_flashbulb("waivers", "add", waivers, fingerprint, *words).code == 0
    assert {name for waiver in read_waivers(waivers) for name in waiver.images} == {"secret.png"}
    assert audit("--gate", "--waivers", waivers).code == 0
    assert verdicts(copied) == {("inconclusive", 0)}
    (note,) = run_json(copied)["notes"]
    assert note == f"Findings waived and not counted: {len(rows)}."
    assert note in (copied / "summary.md").read_text(encoding="utf-8")
    assert set(pl.read_parquet(copied / "findings.parquet").filter(pl.col("standing") == "waived")["waived_by"]) == {
        "ana"
    }


def test_invalid_policy_is_an_error_before_anything_changes(
    audit: Callable[..., Any], copied: Path, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text("max_hihg = 0\n", encoding="utf-8")
    before = run_json(copied)
    answer = audit("--policy", tmp_path / "policy.toml")
    assert answer.code == 2
    assert "max_hihg is no key" in answer.errors[0]
    assert run_json(copied) == before
    assert all((copied / name).is_file() for name in VERDICT_FILES)


@pytest.mark.parametrize(
    ("part", "error", "code"),
    [
        *((part, KeyboardInterrupt, 130) for part in ("summary_markdown", "judge", "check_run")),
        ("write_outputs", OSError(28, "No space left"), 2),
    ],
)
def test_an_interrupted_audit_leaves_no_verdict(
    audit: Callable[..., Any], copied: Path, monkeypatch: pytest.MonkeyPatch, part: str, error: Any, code: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"flashbulb.audit.stages.results.finish.{part}", fails)
    assert audit("--gate").code == code
    assert run_json(copied)["status"] in ("interrupted", "failed")
    assert "verdict" not in run_json(copied)
    assert not [name for name in VERDICT_FILES if (copied / name).exists()]
    assert run_flashbulb("gate", copied).code == 3
    monkeypatch.undo()
    assert audit("--gate").code == 1
    assert verdicts(copied) == {("fail", 1)}


@pytest.mark.parametrize("part", ["summary_markdown", "write_outputs", "write_report", "write_text"])
def test_an_audit_is_not_complete_while_its_verdict_is_written(
    audit: Callable[..., Any], copied: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    import flashbulb.audit.stages.results.finish as output

    statuses, written = [], getattr(output, part)

    def write_and_note_status(*args: Any) -> Any:
        statuses.append(run_json(copied)["status"])
        return written(*args)

    monkeypatch.setattr(output, part, write_and_note_status)
    assert audit().code == 0
    assert statuses == ["detected"]
    assert run_json(copied)["status"] == "complete"


def test_old_verdict_files_are_deleted_when_the_audit_starts_again(
    audit: Callable[..., Any], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all((copied / name).is_file() for name in VERDICT_FILES)
    monkeypatch.setattr("flashbulb.audit.stages.audit.record_prompts", lambda *_: 1 / 0)
    assert audit("--gate").code == 4
    assert not [name for name in VERDICT_FILES if (copied / name).exists()]


def test_the_step_summary_is_the_summary(
    audit: Callable[..., Any], copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    assert audit().code == 0
    assert not (tmp_path / "step.md").exists()
    assert audit("--gate").code == 1
    page = (tmp_path / "step.md").read_text(encoding="utf-8")
    assert page == f"\n{(copied / 'summary.md').read_text(encoding='utf-8')}"


def test_run_without_its_verdict_files_can_be_judged(copied: Path) -> None:
    for name in VERDICT_FILES:
        (copied / name).unlink()
    assert run_flashbulb("gate", copied).code == 1


def test_the_verdict_files_and_their_columns_are_documented() -> None:
    page = (ROOT / "reports" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in (*VERDICT_FILES, *FINDINGS_SCHEMA.names) if f"`{name}`" not in page]
