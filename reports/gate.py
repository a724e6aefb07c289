"""Judge an audit by a policy, waivers and a baseline, once and before any output is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from reports.check import CheckedRun
from reports.decide import EXIT_CODES, Results, Verdict, breaches, decide
from reports.diff import REGRESSIONS, Change, Changed, check_comparable, compare, comparison_notes
from reports.files import RunIncompleteError
from reports.findings import Finding, with_findings
from reports.policy import Policy
from reports.run_record import ModelIdentity
from reports.waivers import Waiver, apply_waivers, waiver_notes

Standing = Literal["breaks", "allowed", "waived", "known"]
"""What a finding does to the verdict: it breaks a limit, is within them, is waived, or was in the baseline already."""


@dataclass(frozen=True, slots=True)
class JudgedFinding:
    """A finding, what it does to the verdict, and how it changed where there is a baseline."""

    finding: Finding
    standing: Standing
    waiver: Waiver | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class GateReport:
    """What every output states; `model` and `results` are None where the run could not be read.

    Args:
        results: what the limits were held against, without waived and known findings.
        judged: all findings, worst first.
        fixed: findings of the baseline that are gone.
        notes: sentences on waivers and the baseline.
    """

    verdict: Verdict
    policy: Policy
    model: ModelIdentity | None
    results: Results | None
    judged: tuple[JudgedFinding, ...]
    fixed: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def listed(self) -> tuple[JudgedFinding, ...]:
        """All findings, those of the baseline that are gone last."""
        return (*self.judged, *(JudgedFinding(finding, "allowed", None, "fixed") for finding in self.fixed))


def judge(
    run: CheckedRun,
    policy: Policy,
    waivers: Sequence[Waiver],
    baseline: CheckedRun | None,
    *,
    new_only: bool,
    today: date,
) -> GateReport:
    """Judge `run`; with `new_only` what the baseline had, and is not worse now, does not count.

    Raises:
        RunIncompleteError: the baseline is not to be trusted.
        NotComparableError: the baseline was asked something else.
    """
    changes = _changes(run, baseline, policy)
    change_of = {changed.finding: changed.change for changed in changes}
    applied = apply_waivers(waivers, run.findings, today)

    def is_known(finding: Finding) -> bool:
        return new_only and change_of[finding] not in REGRESSIONS

    counted = [one for one in run.findings if one.fingerprint not in applied.waived and not is_known(one)]
    results = with_findings(run.results, counted)
    broken = {breach.key for breach in breaches(results, policy)}
    judged = tuple(
        JudgedFinding(
            finding=one,
            standing=_standing(one, one.fingerprint in applied.waived, is_known(one), broken),
            waiver=applied.waived.get(one.fingerprint),
            change=change_of.get(one),
        )
        for one in run.findings
    )
    notes = comparison_notes(baseline.record, run.record) if baseline else ()
    return GateReport(
        verdict=decide(run.results, policy, results),
        policy=policy,
        model=run.record.model,
        results=results,
        judged=judged,
        fixed=tuple(changed.finding for changed in changes if changed.change == "fixed"),
        notes=(*_suppressed(judged), *waiver_notes(applied), *notes),
    )


def untrusted_report(reason: str, policy: Policy) -> GateReport:
    """What the outputs state of a run that cannot be read."""
    return GateReport(Verdict("untrusted", EXIT_CODES["untrusted"], (reason,)), policy, None, None, (), (), ())


def _changes(run: CheckedRun, baseline: CheckedRun | None, policy: Policy) -> tuple[Changed, ...]:
    if baseline is None:
        return ()
    of_baseline = decide(baseline.results, policy)
    if of_baseline.outcome == "untrusted":
        raise RunIncompleteError(f"the baseline is not to be trusted: {of_baseline.reasons[0]}")
    check_comparable(baseline.record, run.record)
    return compare(baseline.findings, run.findings)


def _standing(finding: Finding, is_waived: bool, is_known: bool, broken: set[str]) -> Standing:
    if is_waived:
        return "waived"
    if is_known:
        return "known"
    limits = {"max_confirmed"} if finding.verdict == "confirmed" else set[str]()
    if finding.prompt_id is not None:
        limits |= {f"max_{finding.severity}", f"max_{finding.severity}_rate", "max_flagged_rate"}
    return "breaks" if limits & broken else "allowed"


def _suppressed(judged: Sequence[JudgedFinding]) -> tuple[str, ...]:
    waived = sum(one.standing == "waived" for one in judged)
    known = sum(one.standing == "known" for one in judged)
    return (
        *((f"Findings waived and not counted: {waived}.",) if waived else ()),
        *((f"Findings of the baseline and not counted: {known}.",) if known else ()),
    )
