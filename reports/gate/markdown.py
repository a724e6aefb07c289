"""The gate's Markdown summary: verdict, findings and limits on one page below 1 MiB, without images."""

from pathlib import Path

from flashbulb.reports.gate.judgement import GateReport, JudgedFinding
from flashbulb.reports.leaks.markdown import leaks_markdown, steps_markdown
from flashbulb.reports.tables.files import write_text
from flashbulb.reports.views.markdown_parts import HEADLINES, MAX_ROWS, code, page, sentence, table

_STANDINGS = {
    "breaks": "Findings that break a limit",
    "allowed": "Findings within the limits",
    "waived": "Waived findings",
    "known": "Findings known from the baseline",
}


def gate_markdown(report: GateReport, show_prompts: bool) -> str:
    """Render a report. Prompts are named by file and row; `show_prompts` adds their text."""
    return page(
        _head(report),
        [f"> {sentence(note)}" for note in report.notes[:MAX_ROWS]],
        leaks_markdown(report.leaks),
        steps_markdown(report.steps, report.run_name),
        *(_findings(report, standing, show_prompts) for standing in _STANDINGS),
        _fixed(report, show_prompts),
        _limits(report),
    )


def write_summary(path: Path, report: GateReport, show_prompts: bool) -> None:
    """Write `gate_markdown`, completely or not at all."""
    write_text(path, gate_markdown(report, show_prompts))


def _head(report: GateReport) -> list[str]:
    model = report.model
    return [
        f"# Memorization gate: {HEADLINES[report.verdict.outcome]}",
        "",
        *(f"- {sentence(reason)}" for reason in report.verdict.reasons[:MAX_ROWS]),
        "",
        f"Exit code {report.verdict.exit_code}."
        + (f" Model {code(model.name)}, fingerprint {code(model.fingerprint)}." if model else ""),
        *(["", f"Seal {code(f'sha256:{report.seal}')}."] if report.seal else []),
    ]


def _findings(report: GateReport, standing: str, show_prompts: bool) -> list[str]:
    findings = [judged for judged in report.judged if judged.standing == standing]
    if not findings:
        return []
    header = ("fingerprint", "finding", "change", "waiver")
    rows = [_row(judged, show_prompts) for judged in findings[:MAX_ROWS]]
    return [f"## {_STANDINGS[standing]}: {len(findings)}", "", *table(header, rows), *_omitted(len(findings))]


def _row(judged: JudgedFinding, show_prompts: bool) -> tuple[str, str, str, str]:
    waiver = judged.waiver
    return (
        f"`{judged.finding.fingerprint}`",
        code(judged.finding.headline(show_prompts)),
        judged.change or "",
        code(f"{waiver.owner}, until {waiver.expires}: {waiver.reason}") if waiver else "",
    )


def _fixed(report: GateReport, show_prompts: bool) -> list[str]:
    if not report.fixed:
        return []
    lines = [f"- {code(finding.headline(show_prompts))}" for finding in report.fixed[:MAX_ROWS]]
    return [f"## Fixed since the baseline: {len(report.fixed)}", "", *lines, *_omitted(len(report.fixed))]


def _omitted(n: int) -> list[str]:
    return ["", f"{n - MAX_ROWS} more are not listed here."] if n > MAX_ROWS else []


def _limits(report: GateReport) -> list[str]:
    limits = report.policy.model_dump(mode="json", exclude_none=True)
    return ["## Policy", "", *table(("limit", "value"), [(code(key), code(value)) for key, value in limits.items()])]
