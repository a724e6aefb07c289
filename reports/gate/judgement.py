"""Judge an audit by a policy, waivers and a baseline, once and before any output is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import PurePath
from typing import Literal

from flashbulb.reports.checks.findings import IMAGE, Finding, recount
from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.breaches import breaches
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.diff import REGRESSIONS, Change, Changed, check_comparable, compare_runs, comparison_notes
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver, apply_waivers, not_before, waiver_notes
from flashbulb.reports.leaks.images import CopiedImage, LeakedImage, leak_counts, leaked_images, recorded_copies
from flashbulb.reports.leaks.next_steps import RUN, Step, next_steps
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.tables.recoveries import copied_by_controls
from flashbulb.reports.tables.run_record import ModelIdentity, RunRecord
from flashbulb.reports.tables.stores import is_uri
from flashbulb.reports.tables.verdict import EXIT_CODES, Results, Verdict

Standing = Literal["breaks", "allowed", "waived", "known"]
"""What a finding means for the verdict: it breaks a limit, is allowed, is waived, or is known from the baseline."""


@dataclass(frozen=True, slots=True)
class JudgedFinding:
    """A finding, what it means for the verdict, and how it changed since the baseline (None without one)."""

    finding: Finding
    standing: Standing
    waiver: Waiver | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class GateReport:
    """The judgement that every output states; `model` and `results` are None if the run could not be read.

    Args:
        results: what the limits were compared with, without waived and known findings.
        judged: all findings, worst first.
        fixed: findings of the baseline that the run no longer has.
        notes: sentences on waivers and the baseline.
        seal: digest of the run's seal.
        leaks: every distinct image that came back, worst first, waived ones included.
        steps: what to do next; they call the run directory `RUN`.
        run_name: the run directory as the audit was told, without the folders of an absolute path.
    """

    verdict: Verdict
    policy: Policy
    model: ModelIdentity | None
    results: Results | None
    judged: tuple[JudgedFinding, ...]
    fixed: tuple[Finding, ...]
    notes: tuple[str, ...]
    seal: str | None = None
    leaks: tuple[LeakedImage, ...] = ()
    steps: tuple[Step, ...] = ()
    run_name: str = RUN

    def without_names(self) -> "GateReport":
        """Return the report without the names of training images, which are often captions."""
        return replace(
            self,
            judged=tuple(replace(judged, finding=judged.finding.without_names()) for judged in self.judged),
            fixed=tuple(finding.without_names() for finding in self.fixed),
            leaks=tuple(_without_name(leak) for leak in self.leaks),
        )

    @property
    def leak_counts(self) -> str:
        """How many prompts and distinct images leak, in words."""
        return leak_counts(self.leaks, None if self.results is None else self.results.n_ordinary_copies)

    @property
    def listed(self) -> tuple[JudgedFinding, ...]:
        """All findings, then the fixed ones."""
        return (*self.judged, *(JudgedFinding(finding, "allowed", None, "fixed") for finding in self.fixed))


def judge(
    run: CheckedRun,
    policy: Policy,
    waivers: Sequence[Waiver],
    baseline: CheckedRun | None,
    *,
    new_only: bool,
    today: date,
    strict: bool = False,
) -> GateReport:
    """Judge `run`. With `new_only`, findings count only if they are new or worse than in the baseline.

    Args:
        baseline: an earlier audit with the same prompts and settings; None for no comparison.
        today: the day in UTC on which waivers are checked, unless the audit was finished later by its own clock.
        strict: an inconclusive audit exits like an untrusted one, as it does if the audit itself was strict.

    Raises:
        RunIncompleteError: the baseline is untrusted.
        NotComparableError: the baseline had other prompts or settings.
    """
    changes = _changes(run, baseline, policy)
    change_by_finding = {changed.finding: changed.change for changed in changes}
    known = {changed.finding for changed in changes if new_only and changed.change not in REGRESSIONS}
    day = not_before(run.record.finished, today)
    applied = apply_waivers(waivers, run.findings, day)
    results = recount(run.results, [f for f in run.findings if f.fingerprint not in applied.waived and f not in known])
    broken = {breach.key for breach in breaches(results, policy)}
    judged = tuple(
        JudgedFinding(
            finding=finding,
            standing=_standing(finding, finding.fingerprint in applied.waived, finding in known, broken),
            waiver=applied.waived.get(finding.fingerprint),
            change=change_by_finding.get(finding),
        )
        for finding in run.findings
    )
    notes = comparison_notes(baseline.record, run.record) if baseline else ()
    verdict = decide(
        run.results,
        policy,
        results,
        strict=strict or run.record.settings.get("strict") is True,
        n_control_copies=len(copied_by_controls(run.tables.memories)),
    )
    leaks = leaked_images(run.findings, recorded_copies(run.record.inputs), applied.waived.keys())
    return GateReport(
        verdict=verdict,
        policy=policy,
        model=run.record.model,
        results=results,
        judged=judged,
        fixed=tuple(changed.finding for changed in changes if changed.change == "fixed"),
        notes=(*_clock_notes(today, day), *_suppression_notes(judged), *waiver_notes(applied), *notes),
        seal=run.record.seal.digest if run.record.seal else None,
        leaks=leaks,
        steps=_steps(run.record, verdict, leaks, judged),
        run_name=_run_name(run.record),
    )


def is_told(option: str, *runs: CheckedRun | None) -> bool:
    """Return whether one of the audits had an option, such as to redact prompts, which then holds for every output."""
    return any(run is not None and run.record.settings.get(option) is True for run in runs)


def _clock_notes(today: date, day: date) -> tuple[str, ...]:
    if day == today:
        return ()
    return (f"The clock of this machine says {today}, and the audit was finished on {day}: waivers count as on {day}.",)


def _steps(
    record: RunRecord, verdict: Verdict, leaks: Sequence[LeakedImage], judged: Sequence[JudgedFinding]
) -> tuple[Step, ...]:
    return next_steps(
        verdict.outcome,
        [leak for leak in leaks if not leak.is_waived],
        [entry.finding for entry in judged if entry.standing != "waived"],
        has_training_images=record.settings.get("train_images") is not None,
        audited=record.finished,
    )


def _run_name(record: RunRecord) -> str:
    out = record.settings.get("out")
    if isinstance(out, str) and is_uri(out):
        return out
    path = PurePath(out) if isinstance(out, str) else PurePath(RUN)
    return path.name if path.is_absolute() else str(path)


def _without_name(leak: LeakedImage) -> LeakedImage:
    return replace(
        leak,
        nearest=leak.nearest._replace(path=None) if leak.nearest else None,
        copied=CopiedImage(None, leak.copied.near_duplicates) if leak.copied else None,
        findings=tuple(finding.without_names() for finding in leak.findings),
    )


def untrusted_report(reason: str, policy: Policy) -> GateReport:
    """Return the report of a run that could not be read, for `reason`."""
    return GateReport(Verdict("untrusted", EXIT_CODES["untrusted"], (reason,)), policy, None, None, (), (), ())


def _changes(run: CheckedRun, baseline: CheckedRun | None, policy: Policy) -> tuple[Changed, ...]:
    if baseline is None:
        return ()
    verdict = decide(baseline.results, policy)
    if verdict.outcome == "untrusted":
        raise RunIncompleteError(f"the baseline is untrusted: {verdict.reasons[0]}")
    check_comparable(baseline.record, run.record)
    return compare_runs(baseline, run)


def _standing(finding: Finding, is_waived: bool, is_known: bool, broken: set[str]) -> Standing:
    if is_waived:
        return "waived"
    if is_known:
        return "known"
    limits = {"max_confirmed"} if finding.verdict == "confirmed" else set[str]()
    if finding.prompt_id is not None and finding.kind == IMAGE:
        limits.add("max_extractable_share")
    if finding.prompt_id is not None:
        limits |= {f"max_{finding.severity}", f"max_{finding.severity}_rate", "max_flagged_rate"}
    return "breaks" if limits & broken else "allowed"


def _suppression_notes(judged: Sequence[JudgedFinding]) -> tuple[str, ...]:
    n_waived = sum(finding.standing == "waived" for finding in judged)
    n_known = sum(finding.standing == "known" for finding in judged)
    return (
        *((f"Findings waived and not counted: {n_waived}.",) if n_waived else ()),
        *((f"Findings known from the baseline and not counted: {n_known}.",) if n_known else ()),
    )
