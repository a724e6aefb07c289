"""The verdict: one pure function from what an audit found to pass, fail or not to be trusted."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from reports.rates import percent, rate_of

Outcome = Literal["pass", "fail", "untrusted"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "fail": 1, "untrusted": 3}


@dataclass(frozen=True, slots=True)
class Results:
    """What an audit counted; `problems` are reasons to distrust it, such as a site that did not fire."""

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


class Policy(BaseModel):
    """What an audit may find and still pass; None means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_high: int = Field(default=0, ge=0)
    max_confirmed: int = Field(default=0, ge=0)
    max_flagged_rate: float | None = Field(default=None, ge=0, le=1)
    min_coverage: float = Field(default=1.0, gt=0, le=1)
    max_false_recovery_rate: float | None = Field(default=0.1, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, the exit code it stands for, and the sentences that explain it."""

    outcome: Outcome
    exit_code: int
    reasons: tuple[str, ...]


def decide(results: Results, policy: Policy) -> Verdict:
    """Judge `results` by `policy`; distrust outranks failure, an empty or unfinished audit never passes."""
    untrusted = _contradictions(results) or _reasons_to_distrust(results, policy)
    failed = _reasons_to_fail(results, policy)
    if untrusted:
        return Verdict("untrusted", EXIT_CODES["untrusted"], (*untrusted, *failed))
    if failed:
        return Verdict("fail", EXIT_CODES["fail"], failed)
    return Verdict("pass", EXIT_CODES["pass"], (_reason_to_pass(results),))


def _contradictions(results: Results) -> tuple[str, ...]:
    parts_of_wholes = (
        ("prompts scored", results.n_scored, "prompts", results.n_prompts),
        ("prompts flagged", results.n_flagged, "prompts scored", results.n_scored),
        ("prompts of high severity", results.n_high, "prompts flagged", results.n_flagged),
        ("prompts whose picture came back", results.n_recovered, "prompts flagged", results.n_flagged),
        ("false recoveries", results.n_false_recoveries, "controls", results.n_controls),
        ("", 0, "confirmed pictures", results.n_confirmed_pictures),
    )
    reasons = [
        f"The counts contradict each other: {part} {part_name} of {whole} {whole_name}."
        for part_name, part, whole_name, whole in parts_of_wholes
        if not 0 <= part <= whole
    ]
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
    limit = policy.max_false_recovery_rate
    if limit is not None and results.n_controls and results.n_false_recoveries / results.n_controls > limit:
        rate = rate_of(results.n_false_recoveries, results.n_controls)
        reasons.append(
            f"{results.n_false_recoveries} of {results.n_controls} controls gave a picture as well "
            f"({percent(rate.low)} to {percent(rate.high)}), above the limit of {percent(limit)}."
        )
    return tuple(reasons)


def _reasons_to_fail(results: Results, policy: Policy) -> tuple[str, ...]:
    reasons = []
    pictures, prompts = results.n_confirmed_pictures, results.n_scored
    if results.n_high > policy.max_high:
        reasons.append(f"{results.n_high} of {prompts} prompts leak with high severity (limit {policy.max_high}).")
    if pictures > policy.max_confirmed:
        reasons.append(f"Memorized pictures confirmed: {pictures} (limit {policy.max_confirmed}).")
    limit = policy.max_flagged_rate
    if limit is not None and prompts and results.n_flagged / prompts > limit:
        rate = percent(results.n_flagged / prompts)
        reasons.append(f"{rate} of the prompts were flagged (limit {percent(limit)}).")
    return tuple(reasons)


def _reason_to_pass(results: Results) -> str:
    expected = results.fpr * results.n_scored
    assert math.isfinite(expected), f"expected flags {expected}"
    return (
        f"All limits hold: of {results.n_scored} prompts scored, {results.n_flagged} were flagged "
        f"(about {expected:.1f} are expected by chance), {results.n_high} with high severity; "
        f"memorized pictures confirmed: {results.n_confirmed_pictures}."
    )
