"""The lines that `flashbulb gate`, `diff` and `waivers check` print on the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.gate.diff import CHANGES, Changed
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.waivers import Waiver, waiver_states
from flashbulb.reports.views.text import visible_text

N_SHOWN = 10
_TITLES = {"breaks": "breaks the policy", "waived": "waived", "known": "known from the baseline"}


def gate_lines(report: GateReport, show_prompts: bool) -> Iterator[str]:
    """Yield the verdict on the first line, then the worst findings of each standing but allowed, notes and the seal."""
    yield _line(f"{report.verdict.outcome}: {' '.join(report.verdict.reasons)}")
    for standing, title in _TITLES.items():
        findings = [judged.finding for judged in report.judged if judged.standing == standing]
        yield from _finding_lines(f"{title} ({len(findings)})", findings, show_prompts)
    yield from _finding_lines(f"fixed since the baseline ({len(report.fixed)})", report.fixed, show_prompts)
    yield from (_line(f"note: {note}") for note in report.notes)
    if report.seal:
        yield f"seal: sha256:{report.seal}"


def diff_lines(changes: Sequence[Changed], notes: Sequence[str], show_prompts: bool) -> Iterator[str]:
    """Yield the counts of a comparison on the first line, then the findings that changed, then notes."""
    counts = Counter(changed.change for changed in changes)
    yield ", ".join(f"{counts[change]} {change}" for change in CHANGES)
    for change in CHANGES:
        if change != "unchanged":
            findings = [changed.finding for changed in changes if changed.change == change]
            yield from _finding_lines(f"{change} ({len(findings)})", findings, show_prompts)
    yield from (_line(f"note: {note}") for note in notes)


def _finding_lines(title: str, findings: Sequence[Finding], show_prompts: bool) -> Iterator[str]:
    if findings:
        yield f"{title}:"
        for finding in findings[:N_SHOWN]:
            yield _line(f"  {finding.fingerprint}  {finding.headline(show_prompts)}")
    if len(findings) > N_SHOWN:
        yield f"  … and {len(findings) - N_SHOWN} more"


def _line(text: str) -> str:
    return visible_text(text, 2000)


def waiver_lines(waivers: Sequence[Waiver], findings: Sequence[Finding] | None, today: date) -> Iterator[str]:
    """Yield one line per waiver: whether it holds or has expired and, if `findings` are given, whether it is unused."""
    states = waiver_states(waivers, findings, today)
    for waiver, is_expired, is_unused in states:
        state, unused = "expired" if is_expired else "holds", ", unused" if is_unused else ""
        text = f"{waiver.fingerprint}  {state}{unused}  {waiver.owner}, until {waiver.expires}: {waiver.reason}"
        yield _line(text)
    n_expired = sum(state.is_expired for state in states)
    yield f"{len(waivers)} waivers, {n_expired} expired"
