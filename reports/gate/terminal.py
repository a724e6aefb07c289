"""The lines that `flashbulb gate`, `diff` and `waivers check` print on the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from flashbulb.reports.checks.findings import Finding
from flashbulb.reports.gate.diff import CHANGES, Changed
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.waivers import Waiver, waiver_states
from flashbulb.reports.leaks.terminal import leak_lines, step_lines
from flashbulb.reports.views.text import visible_text

N_SHOWN = 10
_TITLES = {"breaks": "breaks the policy", "waived": "waived", "known": "known from the baseline"}


def gate_lines(report: GateReport, show_prompts: bool, run: str) -> Iterator[str]:
    """Yield the verdict, the worst findings of each standing but allowed, notes, next steps, and last the seal.

    Args:
        run: the run directory as the next steps name it.
    """
    yield _line(f"{report.verdict.outcome}: {' '.join(report.verdict.reasons)}")
    yield from leak_lines(report.leaks)
    for standing, title in _TITLES.items():
        numbered = {n: entry.finding for n, entry in enumerate(report.judged, 1) if entry.standing == standing}
        yield from _finding_lines(f"{title} ({len(numbered)})", [*numbered.values()], show_prompts, [*numbered])
    yield from _finding_lines(f"fixed since the baseline ({len(report.fixed)})", report.fixed, show_prompts)
    yield from (_line(f"note: {note}") for note in report.notes)
    yield from step_lines(report.steps, run)
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


def _finding_lines(
    title: str, findings: Sequence[Finding], show_prompts: bool, numbers: Sequence[int] = ()
) -> Iterator[str]:
    """Yield a title and the first findings, with the `numbers` by which `flashbulb show` knows them."""
    if findings:
        yield f"{title}:"
        for position, finding in enumerate(findings[:N_SHOWN]):
            number = f"{numbers[position]}  " if numbers else ""
            yield _line(f"  {number}{finding.fingerprint}  {finding.headline(show_prompts)}")
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
