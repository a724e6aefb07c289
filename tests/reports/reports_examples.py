"""Gate reports for the tests of the output formats: one for each outcome, with waivers, with a baseline."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.judgement import GateReport, judge, untrusted_report
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from tests.reports.runs import HOSTILE, LEAKS, PROMPTS, SECRET, checked_example

TODAY = date(2026, 6, 15)


def judged(
    run: CheckedRun, *, waive: int = 0, baseline: CheckedRun | None = None, new_only: bool = False
) -> GateReport:
    """The report of a run whose first `waive` findings are waived."""
    waivers = [
        Waiver(fingerprint=finding.fingerprint, reason=f"signed {HOSTILE}", owner="ana", expires=TODAY)
        for finding in run.findings[:waive]
    ]
    return judge(run, Policy(), waivers, baseline, new_only=new_only, today=TODAY)


def passing(folder: Path) -> GateReport:
    return judged(checked_example(folder))


def inconclusive(folder: Path) -> GateReport:
    return judged(checked_example(folder, {5: "low"}, prompts=PROMPTS))


def strictly_inconclusive(folder: Path) -> GateReport:
    run = checked_example(folder, {5: "low"}, prompts=PROMPTS)
    return judge(run, Policy(), (), None, new_only=False, today=TODAY, strict=True)


def failing(folder: Path) -> GateReport:
    return judged(checked_example(folder, LEAKS, likely=frozenset({1})))


def distrusted(folder: Path) -> GateReport:
    return judged(checked_example(folder, LEAKS, n_false=8))


def unreadable(folder: Path) -> GateReport:
    return untrusted_report(f"{folder}/run.json is not valid JSON", Policy())


def waived(folder: Path) -> GateReport:
    return judged(checked_example(folder, LEAKS), waive=2)


def against_baseline(folder: Path) -> GateReport:
    old = checked_example(folder / "old", {0: "high", 1: "low", 7: "medium"})
    return judged(checked_example(folder / "new", LEAKS), baseline=old, new_only=True)


def hostile(folder: Path) -> GateReport:
    prompts = [f"{HOSTILE} {index} {SECRET}" for index in range(20)]
    source = f"data/{HOSTILE}/cap{HOSTILE.replace('/', '')}.csv"
    return judged(checked_example(folder, LEAKS, prompts=prompts, source_file=source), waive=1)


REPORTS: dict[str, Callable[[Path], GateReport]] = {
    "passing": passing,
    "inconclusive": inconclusive,
    "strictly inconclusive": strictly_inconclusive,
    "failing": failing,
    "distrusted": distrusted,
    "unreadable": unreadable,
    "waived": waived,
    "against baseline": against_baseline,
    "hostile": hostile,
}
