"""The gate's `summary.md`: its verdict, limits and findings on one page below 1 MiB, without prompts or pictures."""

from pathlib import Path

from reports.files import write_text
from reports.gate import GateReport, JudgedFinding
from reports.markdown_parts import HEADLINES, MAX_ROWS, code, page, sentence, table

_STANDINGS = {
    "breaks": "Findings that break a limit",
    "allowed": "Findings within the limits",
    "waived": "Waived findings",
    "known": "Findings of the baseline",
}


def gate_markdown(report: GateReport, show_prompts: bool) -> str:
    """Render a report; prompts are named by file and row unless `show_prompts`."""
    return page(
        _head(report),
        [f"> {sentence(note)}" for note in report.notes[:MAX_ROWS]],
        *(_findings(report, standing, show_prompts) for standing in _STANDINGS),
        _fixed(report, show_prompts),
        _limits(report),
    )


def write_summary(path: Path, report: GateReport, show_prompts: bool) -> None:
    """Write `gate_markdown`, whole or not at all."""
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
    ]


def _findings(report: GateReport, standing: str, show_prompts: bool) -> list[str]:
    of_standing = [judged for judged in report.judged if judged.standing == standing]
    if not of_standing:
        return []
    header = ("fingerprint", "finding", "change", "waiver")
    rows = [_row(judged, show_prompts) for judged in of_standing[:MAX_ROWS]]
    return [f"## {_STANDINGS[standing]}: {len(of_standing)}", "", *table(header, rows), *_rest(len(of_standing))]


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
    return [f"## Fixed since the baseline: {len(report.fixed)}", "", *lines, *_rest(len(report.fixed))]


def _rest(n: int) -> list[str]:
    return ["", f"{n - MAX_ROWS} more are left out here."] if n > MAX_ROWS else []


def _limits(report: GateReport) -> list[str]:
    limits = report.policy.model_dump(mode="json", exclude_none=True)
    return ["## Policy", "", *table(("limit", "value"), [(code(key), code(value)) for key, value in limits.items()])]
