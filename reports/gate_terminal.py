"""What `engram gate`, `diff` and `waivers check` say on the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from reports.diff import CHANGES, Changed
from reports.findings import Finding
from reports.gate import GateReport
from reports.text import visible_text
from reports.waivers import Waiver, states_of

N_SHOWN = 10
_TITLES = {"breaks": "breaks the policy", "waived": "waived", "known": "in the baseline"}


def gate_lines(report: GateReport, show_prompts: bool) -> Iterator[str]:
    """The verdict on the first line, then the worst findings that shape it, then notes."""
    yield _line(f"{report.verdict.outcome}: {' '.join(report.verdict.reasons)}")
    for standing, title in _TITLES.items():
        findings = [judged.finding for judged in report.judged if judged.standing == standing]
        yield from _some(f"{title} ({len(findings)})", findings, show_prompts)
    yield from _some(f"fixed since the baseline ({len(report.fixed)})", report.fixed, show_prompts)
    yield from (_line(f"note: {note}") for note in report.notes)


def diff_lines(changes: Sequence[Changed], notes: Sequence[str], show_prompts: bool) -> Iterator[str]:
    """The counts of a comparison on the first line, then what changed; what did not is only counted."""
    counts = Counter(changed.change for changed in changes)
    yield ", ".join(f"{counts[change]} {change}" for change in CHANGES)
    for change in CHANGES:
        if change != "unchanged":
            of_change = [changed.finding for changed in changes if changed.change == change]
            yield from _some(f"{change} ({len(of_change)})", of_change, show_prompts)
    yield from (_line(f"note: {note}") for note in notes)


def _some(title: str, findings: Sequence[Finding], show_prompts: bool) -> Iterator[str]:
    if findings:
        yield f"{title}:"
        for finding in findings[:N_SHOWN]:
            yield _line(f"  {finding.fingerprint}  {finding.headline(show_prompts)}")
    if len(findings) > N_SHOWN:
        yield f"  … and {len(findings) - N_SHOWN} more"


def _line(text: str) -> str:
    return visible_text(text, 2000)


def waiver_lines(waivers: Sequence[Waiver], findings: Sequence[Finding] | None, today: date) -> Iterator[str]:
    """One line a waiver: whether it holds, has expired, or, where `findings` are given, is unused."""
    states = states_of(waivers, findings, today)
    for waiver, is_expired, is_unused in states:
        state, unused = "expired" if is_expired else "holds", ", unused" if is_unused else ""
        text = f"{waiver.fingerprint}  {state}{unused}  {waiver.owner}, until {waiver.expires}: {waiver.reason}"
        yield _line(text)
    n_expired = sum(one.is_expired for one in states)
    yield f"{len(waivers)} waivers, {n_expired} expired"
