"""junitparser reads the JUnit file and finds the verdict in it."""

from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase

from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.junit import write_junit
from tests.reports.reports_examples import REPORTS, against_baseline, failing, hostile, waived
from tests.reports.runs import SECRET

ELEMENT = {("pass", 0): [], ("inconclusive", 0): [Skipped], ("fail", 1): [Failure]}
STANDING = {"breaks": Failure, "waived": Skipped, "known": Skipped, "allowed": None}


def read_back(tmp_path: Path, report: GateReport, show_prompts: bool = False) -> list[TestCase]:
    """Cases as junitparser reads them. Its counts equal those that the suites state."""
    path = tmp_path / "junit.xml"
    write_junit(path, report, show_prompts)
    xml = JUnitXml.fromfile(str(path))
    stated = (xml.tests, xml.failures, xml.errors, xml.skipped)
    xml.update_statistics()
    assert (xml.tests, xml.failures, xml.errors, xml.skipped) == stated
    return [case for suite in xml for case in suite]


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_is_the_first_case(tmp_path: Path, name: str) -> None:
    report = REPORTS[name](tmp_path / "run")
    verdict, *others = read_back(tmp_path, report)
    assert verdict.name == "verdict"
    assert [type(result) for result in verdict.result] == ELEMENT.get(
        (report.verdict.outcome, report.verdict.exit_code), [Error]
    )
    assert len(others) == len(report.judged)
    if report.verdict.outcome == "pass":
        assert all(isinstance(result, Skipped) for case in others for result in case.result)


@pytest.mark.parametrize("name", REPORTS)
def test_each_finding_has_the_result_of_its_standing(tmp_path: Path, name: str) -> None:
    report = REPORTS[name](tmp_path / "run")
    for case, judged in zip(read_back(tmp_path, report)[1:], report.judged, strict=True):
        assert judged.finding.fingerprint in case.name
        element = STANDING[judged.standing]
        assert [type(result) for result in case.result] == ([element] if element else [])


def test_cases_have_distinct_names(tmp_path: Path) -> None:
    names = [case.name for case in read_back(tmp_path, failing(tmp_path / "run"))]
    assert len(set(names)) == len(names) > 1


def test_waivers_and_the_baseline_are_named(tmp_path: Path) -> None:
    cases = read_back(tmp_path, waived(tmp_path / "waived"))
    assert "waived by ana until 2026-06-15: signed" in cases[1].result[0].text
    cases = read_back(tmp_path, against_baseline(tmp_path / "baseline"))
    assert any("already in the baseline (unchanged)" in result.text for case in cases for result in case.result)


@pytest.mark.parametrize("show_prompts", [False, True])
def test_prompts_are_hidden_unless_requested(tmp_path: Path, show_prompts: bool) -> None:
    cases = read_back(tmp_path, hostile(tmp_path / "run"), show_prompts)
    assert len(cases) == 5
    assert (SECRET in (tmp_path / "junit.xml").read_text(encoding="utf-8")) is show_prompts
