"""What `--json` prints: one document of a judgement, a comparison or a check of waivers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from reports.check import CheckedRun
from reports.decide import EXIT_CODES, Outcome
from reports.diff import CHANGES, Changed
from reports.findings import Finding
from reports.findings_file import finding_columns, finding_rows
from reports.gate import GateReport
from reports.waivers import Waiver, states_of


def gate_document(report: GateReport, show_prompts: bool) -> dict[str, Any]:
    """A judgement with all its findings; `model` and `counted` are null where the run could not be read."""
    verdict = report.verdict
    return {
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "reasons": list(verdict.reasons),
        "notes": list(report.notes),
        "policy": report.policy.model_dump(mode="json"),
        "model": asdict(report.model) if report.model else None,
        "counted": asdict(report.results) if report.results else None,
        "findings": finding_rows(report, show_prompts),
    }


def diff_document(
    old: CheckedRun, new: CheckedRun, changes: Sequence[Changed], notes: Sequence[str], show_prompts: bool
) -> dict[str, Any]:
    """A comparison with every change; it judges nothing."""
    counts = Counter(changed.change for changed in changes)
    return {
        "outcome": "compared",
        "exit_code": 0,
        "notes": list(notes),
        "old": asdict(old.record.model),
        "new": asdict(new.record.model),
        "counts": {change: counts[change] for change in CHANGES},
        "changes": [{"change": one.change, **finding_columns(one.finding, show_prompts)} for one in changes],
    }


def waivers_document(waivers: Sequence[Waiver], findings: Sequence[Finding] | None, today: date) -> dict[str, Any]:
    """Each waiver with its state; `unused` is null where no run was given."""
    rows = [
        {**waiver.model_dump(mode="json"), "expired": is_expired, "unused": is_unused}
        for waiver, is_expired, is_unused in states_of(waivers, findings, today)
    ]
    outcome: Outcome = "fail" if any(row["expired"] for row in rows) else "pass"
    return {"outcome": outcome, "exit_code": EXIT_CODES[outcome], "today": today.isoformat(), "waivers": rows}


def untrusted_document(reason: str) -> dict[str, Any]:
    """What is said of a run that cannot be read."""
    return {"outcome": "untrusted", "exit_code": EXIT_CODES["untrusted"], "reasons": [reason]}
