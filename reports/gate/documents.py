"""The documents that `--json` prints, for a judgement, a comparison and a check of waivers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.diff import CHANGES, Changed
from flashbulb.reports.gate.findings_file import finding_columns, finding_rows
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.waivers import Waiver, waiver_states
from flashbulb.reports.tables.verdict import EXIT_CODES, Outcome


def gate_document(report: GateReport, show_prompts: bool) -> dict[str, Any]:
    """Describe a judgement with all its findings.

    `model`, `seal` and `counted` are null if the run could not be read.
    """
    verdict = report.verdict
    return {
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "reasons": list(verdict.reasons),
        "notes": list(report.notes),
        "policy": report.policy.model_dump(mode="json"),
        "model": asdict(report.model) if report.model else None,
        "seal": report.seal,
        "counted": asdict(report.results) if report.results else None,
        "leaks": report.leak_counts,
        "next_steps": [asdict(step.of_run(report.run_name)) for step in report.steps],
        "findings": finding_rows(report, show_prompts),
    }


def diff_document(
    old: CheckedRun, new: CheckedRun, changes: Sequence[Changed], notes: Sequence[str], show_prompts: bool
) -> dict[str, Any]:
    """Describe a comparison with every change. It contains no judgement."""
    counts = Counter(changed.change for changed in changes)
    return {
        "outcome": "compared",
        "exit_code": 0,
        "notes": list(notes),
        "old": asdict(old.record.model),
        "new": asdict(new.record.model),
        "counts": {change: counts[change] for change in CHANGES},
        "changes": [
            {"change": changed.change, **finding_columns(changed.finding, show_prompts)} for changed in changes
        ],
    }


def waivers_document(waivers: Sequence[Waiver], findings: Sequence[Finding] | None, today: date) -> dict[str, Any]:
    """Describe each waiver with its state; `unused` is null if no run was given."""
    rows = [
        {**waiver.model_dump(mode="json"), "expired": is_expired, "unused": is_unused}
        for waiver, is_expired, is_unused in waiver_states(waivers, findings, today)
    ]
    outcome: Outcome = "fail" if any(row["expired"] for row in rows) else "pass"
    return {"outcome": outcome, "exit_code": EXIT_CODES[outcome], "today": today.isoformat(), "waivers": rows}


def untrusted_document(reason: str) -> dict[str, Any]:
    """Describe a run that could not be read, for `reason`."""
    return {"outcome": "untrusted", "exit_code": EXIT_CODES["untrusted"], "reasons": [reason]}
