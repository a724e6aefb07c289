"""The verdict: one pure function from what an audit found to pass, fail or not to be trusted."""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from reports.policy import FLAGGED_SEVERITIES, Policy
from reports.rates import percent, rate_of

Outcome = Literal["pass", "fail", "untrusted"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "untrusted": 3}


@dataclass(frozen=True, slots=True)
class Results:
    """What an audit counted; `problems` are reasons to distrust it, such as a site that did not fire.

    What run.json does not state is None until the tables were looked at, or where it was not measured; a limit on it is
    then not known to hold, and the audit is not trusted under a policy that has that limit.

    Args:
        n_left_out: prompts scored by tier 0 alone.
        n_untried: flagged prompts that recovery was not tried on.
        style_shift: how well words alone tell candidates from reference prompts (AUC).
    """

    status: str
    n_prompts: int
    n_scored: int
    n_flagged: int
    n_high: int
    n_confirmed_pictures: int
    n_recovered: int
    n_controls: int
    n_false_recoveries: int
    fpr: float
    problems: tuple[str, ...]
    n_medium: int | None = None
    n_low: int | None = None
    n_left_out: int | None = None
    n_untried: int | None = None
    style_shift: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, the exit code it stands for, and the sentences that explain it."""

    outcome: Outcome
    exit_code: int
    reasons: tuple[str, ...]


class Breach(NamedTuple):
    """A limit of the policy that does not hold: its key there, and the sentence that says so."""

    key: str
    reason: str


def decide(results: Results, policy: Policy, counted: Results | None = None) -> Verdict:
    """Judge an audit by `policy`; distrust outranks failure, an empty or unfinished audit never passes.

    Args:
        results: the whole audit, which is trusted or not whatever was waived of it.
        counted: what limits are held against: `results` without findings that are excused; by default all of them.
    """
    counted = results if counted is None else counted
    untrusted = _contradictions(results) or _reasons_to_distrust(results, policy)
    failed = tuple(breach.reason for breach in breaches(counted, policy))
    if untrusted:
        return Verdict("untrusted", EXIT_CODES["untrusted"], (*untrusted, *failed))
    if failed:
        return Verdict("fail", EXIT_CODES["fail"], failed)
    return Verdict("pass", EXIT_CODES["pass"], (_reason_to_pass(counted),))


def breaches(results: Results, policy: Policy) -> tuple[Breach, ...]:
    """Limits on what was found that do not hold, in the policy's order."""
    pictures, prompts = results.n_confirmed_pictures, results.n_scored
    found = []
    for severity in FLAGGED_SEVERITIES:
        n, key = getattr(results, f"n_{severity}"), f"max_{severity}"
        limit, max_rate = getattr(policy, key), getattr(policy, f"{key}_rate")
        if limit is not None and n is not None and n > limit:
            verb = "leak" if severity == "high" else "are flagged"
            found.append(Breach(key, f"{n} of {prompts} prompts {verb} with {severity} severity (limit {limit})."))
        if _exceeds(n, prompts, max_rate):
            text = f"{percent(n / prompts)} of the prompts have {severity} severity (limit {percent(max_rate)})."
            found.append(Breach(f"{key}_rate", text))
    if _exceeds(results.n_flagged, prompts, policy.max_flagged_rate):
        rate, limit = percent(results.n_flagged / prompts), percent(policy.max_flagged_rate or 0)
        found.append(Breach("max_flagged_rate", f"{rate} of the prompts were flagged (limit {limit})."))
    if policy.max_confirmed is not None and pictures > policy.max_confirmed:
        found.append(
            Breach("max_confirmed", f"Memorized pictures confirmed: {pictures} (limit {policy.max_confirmed}).")
        )
    return tuple(found)


def _exceeds(n: int | None, of: int, limit: float | None) -> bool:
    return limit is not None and n is not None and of > 0 and n / of > limit


def _contradictions(results: Results) -> tuple[str, ...]:
    parts_of_wholes = (
        ("prompts scored", results.n_scored, "prompts", results.n_prompts),
        ("prompts flagged", results.n_flagged, "prompts scored", results.n_scored),
        ("prompts of high severity", results.n_high, "prompts flagged", results.n_flagged),
        ("prompts whose picture came back", results.n_recovered, "prompts flagged", results.n_flagged),
        ("false recoveries", results.n_false_recoveries, "controls", results.n_controls),
        ("", 0, "confirmed pictures", results.n_confirmed_pictures),
        ("prompts left to the screening", results.n_left_out or 0, "prompts scored", results.n_scored),
        ("flagged prompts not tried", results.n_untried or 0, "prompts flagged", results.n_flagged),
    )
    reasons = [
        f"The counts contradict each other: {part} {part_name} of {whole} {whole_name}."
        for part_name, part, whole_name, whole in parts_of_wholes
        if not 0 <= part <= whole
    ]
    if results.n_medium is not None and results.n_low is not None:
        parts = (results.n_high, results.n_medium, results.n_low)
        if min(parts) < 0 or sum(parts) != results.n_flagged:
            reasons.append(
                f"The counts contradict each other: {parts} prompts of high, medium and low severity, "
                f"{results.n_flagged} flagged."
            )
    if results.style_shift is not None and not 0 <= results.style_shift <= 1:
        reasons.append(f"The stated style shift {results.style_shift} is not between 0 and 1.")
    if not 0 < results.fpr < 1:
        reasons.append(f"The stated false-positive rate {results.fpr} is not between 0 and 1.")
    return tuple(reasons)


def _reasons_to_distrust(results: Results, policy: Policy) -> tuple[str, ...]:
    reasons = list(results.problems)
    if results.status != "complete":
        reasons.append(f"The audit is not complete: its status is {results.status!r}.")
    if results.n_prompts == 0:
        reasons.append("No prompt was audited.")
    elif results.n_scored == 0 or results.n_scored / results.n_prompts < policy.min_coverage:
        reasons.append(
            f"{results.n_scored} of {results.n_prompts} prompts were scored, "
            f"below the required coverage of {percent(policy.min_coverage)}."
        )
    unknown = (*_unknown(results, policy), *_untried(results, policy), *_missed_tiers(results, policy))
    return (*reasons, *unknown, *_doubts(results, policy))


def _unknown(results: Results, policy: Policy) -> tuple[str, ...]:
    """A limit on what is not known is not known to hold."""
    limited = {
        "max_medium": results.n_medium,
        "max_medium_rate": results.n_medium,
        "max_low": results.n_low,
        "max_low_rate": results.n_low,
        "max_style_shift": results.style_shift,
    }
    return tuple(
        f"The policy sets {key}, but what it limits was not measured."
        for key, value in limited.items()
        if getattr(policy, key) is not None and value is None
    )


def _untried(results: Results, policy: Policy) -> tuple[str, ...]:
    """Where no flagged prompt was tried to recover, each may bring a picture: limits that this would break are open."""
    n = results.n_flagged
    if n == 0 or results.n_untried != n:
        return ()
    worst = replace(results, n_high=n, n_confirmed_pictures=n)
    picture_limits = {"max_high", "max_high_rate", "max_confirmed"}
    open_limits = [breach.key for breach in breaches(worst, policy) if breach.key in picture_limits]
    if not open_limits:
        return ()
    return (f"None of the {n} flagged prompts was tried to recover: whether {open_limits[0]} holds is not known.",)


def _missed_tiers(results: Results, policy: Policy) -> tuple[str, ...]:
    missed = {
        1: (results.n_left_out, "prompts were left to the screening alone"),
        3: (results.n_untried, "flagged prompts were not tried to recover"),
    }
    return tuple(
        f"{'An unknown number of' if n is None else n} {what}; the policy requires tier {tier}."
        for tier, (n, what) in missed.items()
        if tier in policy.required_tiers and n != 0
    )


def _doubts(results: Results, policy: Policy) -> tuple[str, ...]:
    """False recoveries and another style: signs that what was found is not what it seems.

    The limit on false recoveries is held against the lower end of the rate's 95 % Wilson interval: the audit is
    distrusted only where its controls *show* a rate above the limit. An audit has as many controls as flagged prompts,
    often few, and one picture among 8 controls is what a true rate of 5 % gives in one audit of three. To wait for
    evidence is safe here, since false recoveries can only add findings: they make a good model fail, which a person
    then looks at, and never make a bad one pass.
    """
    reasons = []
    limit, rate = policy.max_false_recovery_rate, rate_of(results.n_false_recoveries, results.n_controls)
    if limit is not None and results.n_controls > 0 and rate.low > limit:
        reasons.append(
            f"{rate.n} of {rate.of} controls gave a picture as well "
            f"({percent(rate.low)} to {percent(rate.high)}), above the limit of {percent(limit)}."
        )
    shift, max_shift = results.style_shift, policy.max_style_shift
    if shift is not None and max_shift is not None and shift > max_shift:
        reasons.append(
            f"Words alone tell candidates from reference prompts with an AUC of {shift:.2f} (limit {max_shift:g})."
        )
    return tuple(reasons)


def _reason_to_pass(results: Results) -> str:
    expected = results.fpr * results.n_scored
    assert math.isfinite(expected), f"expected flags {expected}"
    return (
        f"All limits hold: of {results.n_scored} prompts scored, {results.n_flagged} were flagged "
        f"(about {expected:.1f} are expected by chance), {results.n_high} with high severity; "
        f"memorized pictures confirmed: {results.n_confirmed_pictures}."
        + (f" Not tried to recover: {results.n_untried}." if results.n_untried else "")
    )
