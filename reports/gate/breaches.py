"""The limits of a policy that the findings of an audit exceed."""

from typing import NamedTuple

from flashbulb.reports.bounds.rates import percent
from flashbulb.reports.gate.policy import FLAGGED_SEVERITIES, Policy
from flashbulb.reports.tables.verdict import Results


class Breach(NamedTuple):
    """A limit of the policy that is exceeded: its key in the policy, and a sentence that explains it."""

    key: str
    reason: str


def breaches(results: Results, policy: Policy) -> tuple[Breach, ...]:
    """Return the limits on findings that are exceeded, in the policy's order."""
    images, prompts = results.n_confirmed_pictures, results.n_scored
    exceeded = []
    for severity in FLAGGED_SEVERITIES:
        n, key = getattr(results, f"n_{severity}"), f"max_{severity}"
        limit, max_rate = getattr(policy, key), getattr(policy, f"{key}_rate")
        if limit is not None and n is not None and n > limit:
            what = "with a recovered image (high severity)" if severity == "high" else f"of {severity} severity"
            exceeded.append(Breach(key, f"Prompts {what}: {n:,} of {prompts:,} (limit {limit:,})."))
        if _exceeds(n, prompts, max_rate):
            text = f"{percent(n / prompts)} of the prompts have {severity} severity (limit {percent(max_rate)})."
            exceeded.append(Breach(f"{key}_rate", text))
    if _exceeds(results.n_flagged, prompts, policy.max_flagged_rate):
        rate, limit = percent(results.n_flagged / prompts), percent(policy.max_flagged_rate or 0)
        exceeded.append(Breach("max_flagged_rate", f"{rate} of the prompts were flagged (limit {limit})."))
    if policy.max_confirmed is not None and images > policy.max_confirmed:
        exceeded.append(
            Breach("max_confirmed", f"Memorized images confirmed: {images} (limit {policy.max_confirmed}).")
        )
    if _exceeds(results.n_recovered, prompts, policy.max_extractable_share):
        rate, limit = percent(results.n_recovered / prompts), percent(policy.max_extractable_share or 0)
        exceeded.append(Breach("max_extractable_share", f"{rate} of the prompts gave their image (limit {limit})."))
    copies, limit_of_copies = results.n_ordinary_copies, policy.max_ordinary_copies
    if limit_of_copies is not None and copies is not None and copies > limit_of_copies:
        text = f"Ordinary prompts whose only sample copied a training image: {copies} (limit {limit_of_copies})."
        exceeded.append(Breach("max_ordinary_copies", text))
    return tuple(exceeded)


def _exceeds(n: int | None, of: int, limit: float | None) -> bool:
    return limit is not None and n is not None and of > 0 and n / of > limit
