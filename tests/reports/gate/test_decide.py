"""The verdict follows the policy, whatever the results and the limits, and an untrusted audit never passes."""

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from flashbulb.reports.checks.findings import recount
from flashbulb.reports.gate.breaches import breaches
from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.tables.verdict import Results
from tests.reports.examples import results
from tests.reports.policies import POLICIES

COUNTS = st.integers(-2, 50)
ANY_RESULTS = st.builds(
    Results,
    status=st.sampled_from(["complete", "running", "interrupted", ""]),
    n_prompts=COUNTS,
    n_scored=COUNTS,
    n_flagged=COUNTS,
    n_high=COUNTS,
    n_confirmed_pictures=COUNTS,
    n_recovered=COUNTS,
    n_controls=COUNTS,
    n_false_recoveries=COUNTS,
    fpr=st.floats(),
    problems=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    n_medium=st.none() | COUNTS,
    n_low=st.none() | COUNTS,
    n_left_out=st.none() | COUNTS,
    n_untried=st.none() | COUNTS,
    style_shift=st.none() | st.floats(),
    sensitivity=st.none() | st.floats(),
    n_ordinary_copies=st.none() | COUNTS,
)


@st.composite
def consistent_results(draw: st.DrawFn) -> Results:
    """Results of a finished audit that do not contradict each other."""
    high, medium, low, unflagged = (draw(st.integers(0, 20)) for _ in range(4))
    flagged, controls = high + medium + low, draw(st.integers(0, 40))
    scored = max(1, flagged + unflagged)
    return results(
        n_prompts=scored + draw(st.integers(0, 5)),
        n_scored=scored,
        n_flagged=flagged,
        n_high=high,
        n_medium=medium,
        n_low=low,
        n_recovered=high,
        n_confirmed_pictures=draw(st.integers(0, high)),
        n_controls=controls,
        n_false_recoveries=draw(st.integers(0, controls)),
        n_left_out=draw(st.integers(0, scored - flagged)),
        n_untried=draw(st.integers(0, flagged)),
        style_shift=draw(st.floats(0.5, 1)),
        sensitivity=draw(st.none() | st.floats(0, 1)),
        n_ordinary_copies=draw(st.none() | st.integers(0, 3)),
    )


@given(ANY_RESULTS, POLICIES)
def test_every_verdict_has_its_exit_code_and_a_reason(any_results: Results, policy: Policy) -> None:
    verdict = decide(any_results, policy)
    assert verdict.exit_code == {"pass": 0, "inconclusive": 0, "fail": 1, "untrusted": 3}[verdict.outcome]
    assert verdict.reasons
    assert all(verdict.reasons)


@given(ANY_RESULTS, POLICIES, st.sampled_from(["problems", "status", "n_prompts"]))
def test_distrust_outranks_failure(any_results: Results, policy: Policy, field: str) -> None:
    distrusted = {"problems": ("site ff did not fire",), "status": "running", "n_prompts": 0}[field]
    assert decide(dataclasses.replace(any_results, **{field: distrusted}), policy).exit_code == 3


@given(ANY_RESULTS, POLICIES)
def test_a_pass_is_complete_covered_and_not_empty(any_results: Results, policy: Policy) -> None:
    if decide(any_results, policy).outcome == "pass":
        assert any_results.status == "complete"
        assert not any_results.problems
        assert 0 < any_results.n_scored <= any_results.n_prompts
        assert any_results.n_scored >= policy.min_coverage * any_results.n_prompts * (1 - 1e-12)
        assert policy.max_high is None or any_results.n_high <= policy.max_high
        assert policy.max_confirmed is None or any_results.n_confirmed_pictures <= policy.max_confirmed
        assert policy.max_style_shift is None or (any_results.style_shift or 2) <= policy.max_style_shift
        assert not breaches(any_results, policy)


ORDER = ("pass", "inconclusive", "fail", "untrusted")


@given(consistent_results(), POLICIES, st.sampled_from(["high", "medium", "low"]))
def test_one_more_finding_never_improves_the_verdict(some_results: Results, policy: Policy, severity: str) -> None:
    # if no flagged prompt was tried, one more that was tried shows that recovery did run
    assume(some_results.n_untried != some_results.n_flagged or not some_results.n_flagged)
    more = dataclasses.replace(
        some_results,
        n_prompts=some_results.n_prompts + 1,
        n_scored=some_results.n_scored + 1,
        n_flagged=some_results.n_flagged + 1,
        **{f"n_{severity}": getattr(some_results, f"n_{severity}") + 1},
    )
    same_size = dataclasses.replace(
        some_results, n_prompts=some_results.n_prompts + 1, n_scored=some_results.n_scored + 1
    )
    assert ORDER.index(decide(more, policy).outcome) >= ORDER.index(decide(same_size, policy).outcome)


@given(consistent_results(), POLICIES, st.sampled_from(sorted(Policy.model_fields)))
def test_removing_a_limit_never_makes_the_verdict_worse(some_results: Results, policy: Policy, key: str) -> None:
    no_limit = {"min_coverage": 1e-9, "required_tiers": ()}.get(key)
    looser = policy.model_copy(update={key: no_limit})
    assert ORDER.index(decide(some_results, looser).outcome) <= ORDER.index(decide(some_results, policy).outcome)


@given(consistent_results(), POLICIES)
def test_breaches_name_limits_of_the_policy_and_make_it_fail(some_results: Results, policy: Policy) -> None:
    broken = breaches(some_results, policy)
    assert all(getattr(policy, breach.key) is not None for breach in broken)
    assert len({breach.key for breach in broken}) == len(broken)
    verdict = decide(some_results, policy)
    assert {breach.reason for breach in broken} <= set(verdict.reasons)
    assert (verdict.outcome == "fail") <= bool(broken)


@given(consistent_results(), POLICIES)
def test_counted_findings_decide_only_between_pass_and_fail(some_results: Results, policy: Policy) -> None:
    nothing = recount(
        dataclasses.replace(some_results, n_ordinary_copies=None), ()
    )  # copies by ordinary prompts are no findings
    assert (decide(some_results, policy, nothing).outcome == "untrusted") == (
        decide(some_results, policy).outcome == "untrusted"
    )
    assert decide(some_results, policy, nothing).outcome != "fail"


def test_unknown_policy_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_hihg"):
        Policy.model_validate({"max_hihg": 1})
