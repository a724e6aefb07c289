"""The verdict follows the policy, and an untrusted audit never passes."""

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


@pytest.mark.parametrize(
    ("n_false", "n_controls", "exit_code"),
    [
        (0, 0, 0),
        (1, 8, 0),
        (1, 1, 0),
        (2, 4, 0),
        (3, 4, 3),
        (1, 2, 0),
        (2, 10, 0),
        (2, 79, 0),
        (8, 79, 0),
        (20, 79, 3),
        (30, 79, 3),
    ],
)
def test_an_audit_is_untrusted_only_if_its_controls_show_too_high_a_rate(
    n_false: int, n_controls: int, exit_code: int
) -> None:
    assert decide(results(n_false_recoveries=n_false, n_controls=n_controls), Policy()).exit_code == exit_code


def test_a_leak_with_few_false_recoveries_fails_and_is_not_untrusted() -> None:
    leak = {"n_prompts": 1156, "n_scored": 1156, "n_flagged": 79, "n_high": 70, "n_recovered": 70}
    leaking = results(**leak, n_confirmed_pictures=65, n_controls=79, n_false_recoveries=2)
    assert decide(leaking, Policy()).exit_code == 1


@pytest.mark.parametrize(
    ("policy", "exit_code"),
    [
        ({"max_medium": 1}, 3),
        ({"max_low_rate": 1.0}, 3),
        ({"max_style_shift": 1.0}, 3),
        ({"required_tiers": [1]}, 3),
        ({"required_tiers": [3]}, 3),
        ({"max_flagged_rate": 1.0}, 0),
    ],
)
def test_a_limit_on_a_value_that_was_not_measured_makes_an_audit_untrusted(
    policy: dict[str, object], exit_code: int
) -> None:
    assert decide(results(), Policy.model_validate(policy)).exit_code == exit_code


MEASURED = {"n_medium": 1, "n_low": 1, "n_left_out": 0, "n_untried": 0, "style_shift": 0.6}


@pytest.mark.parametrize(
    ("changes", "policy", "exit_code"),
    [
        ({}, {"max_medium": 1, "max_low": 1}, 0),
        ({}, {"max_medium": 0}, 1),
        ({}, {"max_low": 0}, 1),
        ({}, {"max_medium_rate": 0.01}, 0),
        ({}, {"max_low_rate": 0.009}, 1),
        ({}, {"required_tiers": [1, 3], "max_style_shift": 0.6}, 0),
        ({}, {"max_style_shift": 0.59}, 3),
        ({"n_left_out": 1}, {"required_tiers": [1]}, 3),
        ({"n_left_out": 1}, {"required_tiers": [3]}, 0),
        ({"n_untried": 1}, {"required_tiers": [3]}, 3),
        ({"n_low": 2}, {}, 3),
        ({"n_untried": 3}, {}, 3),
        ({"n_left_out": 101}, {}, 3),
        ({"n_high": 1, "n_low": 0}, {"max_high_rate": 0.01, "max_high": 5}, 0),
        ({"n_high": 2, "n_low": 0, "n_medium": 0}, {"max_high_rate": 0.01, "max_high": 5}, 1),
    ],
)
def test_severities_tiers_and_style_are_limited(
    changes: dict[str, object], policy: dict[str, object], exit_code: int
) -> None:
    assert decide(results(**MEASURED | changes), Policy.model_validate(policy)).exit_code == exit_code


@pytest.mark.parametrize(
    ("changes", "policy", "exit_code"),
    [
        ({}, {}, 0),
        ({"n_high": 1}, {}, 1),
        ({"n_high": 1}, {"max_high": 1}, 0),
        ({"n_confirmed_pictures": 1}, {}, 1),
        ({"n_flagged": 6}, {"max_flagged_rate": 0.05}, 1),
        ({"n_flagged": 5}, {"max_flagged_rate": 0.05}, 0),
        ({"n_scored": 99}, {}, 3),
        ({"n_scored": 99}, {"min_coverage": 0.99}, 0),
        ({"n_scored": 0, "n_flagged": 0}, {}, 3),
        ({"n_prompts": 0, "n_scored": 0, "n_flagged": 0}, {}, 3),
        ({"n_false_recoveries": 6}, {}, 3),
        ({"n_false_recoveries": 6}, {"max_false_recovery_rate": None}, 0),
        ({"n_false_recoveries": 2}, {}, 0),
        ({"n_high": 3}, {}, 3),
        ({"n_recovered": 1}, {}, 0),
        ({"n_recovered": 2}, {}, 1),
        ({"n_recovered": 2}, {"max_extractable_share": 0.02}, 0),
        ({"n_recovered": 3}, {}, 3),
        ({"fpr": float("nan")}, {}, 3),
        ({"n_confirmed_pictures": -1}, {}, 3),
    ],
)
def test_limits_are_inclusive_and_contradictions_are_untrusted(
    changes: dict[str, object], policy: dict[str, object], exit_code: int
) -> None:
    assert decide(results(**changes), Policy.model_validate(policy)).exit_code == exit_code


@pytest.mark.parametrize(
    ("changes", "policy", "exit_code"),
    [
        ({"n_untried": 2}, {}, 3),
        ({"n_untried": 1}, {}, 0),
        ({"n_untried": None}, {}, 0),
        ({"n_untried": 0, "n_flagged": 0}, {}, 0),
        ({"n_untried": 2}, {"max_high": 1, "max_confirmed": 2}, 3),
        ({"n_untried": 2}, {"max_high": 2, "max_confirmed": 1}, 3),
        ({"n_untried": 2}, {"max_high": 2, "max_confirmed": 2}, 0),
        ({"n_untried": 2}, {"max_high": 2, "max_confirmed": 2, "max_high_rate": 0.01}, 3),
    ],
)
def test_an_audit_without_recovery_cannot_pass_a_limit_on_images(
    changes: dict[str, object], policy: dict[str, object], exit_code: int
) -> None:
    assert decide(results(**changes), Policy.model_validate(policy)).exit_code == exit_code


@pytest.mark.parametrize("shift", [-0.1, 1.1, float("nan"), float("-inf")])
def test_a_style_shift_outside_0_to_1_is_untrusted(shift: float) -> None:
    assert decide(results(style_shift=shift), Policy()).exit_code == 3


@given(consistent_results(), POLICIES)
def test_counted_findings_decide_only_between_pass_and_fail(some_results: Results, policy: Policy) -> None:
    nothing = recount(
        dataclasses.replace(some_results, n_ordinary_copies=None), ()
    )  # copies by ordinary prompts are no findings
    assert (decide(some_results, policy, nothing).outcome == "untrusted") == (
        decide(some_results, policy).outcome == "untrusted"
    )
    assert decide(some_results, policy, nothing).outcome != "fail"


def test_an_untrusted_audit_still_states_the_limits_it_exceeds() -> None:
    reasons = decide(results(n_high=1, problems=("NaN at site ff.",)), Policy()).reasons
    assert reasons == ("NaN at site ff.", "Prompts with a recovered image (high severity): 1 of 100 (limit 0).")


def test_unknown_policy_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_hihg"):
        Policy.model_validate({"max_hihg": 1})


SMALL = {"n_prompts": 40, "n_scored": 40, "n_flagged": 0, "n_controls": 0}
LARGE = SMALL | {"n_prompts": 400, "n_scored": 400}


@pytest.mark.parametrize(
    ("changes", "policy", "outcome"),
    [
        (SMALL, {}, "inconclusive"),
        (LARGE, {}, "pass"),
        (LARGE | {"sensitivity": None}, {}, "inconclusive"),
        (LARGE | {"sensitivity": 0.0}, {}, "inconclusive"),
        (LARGE | {"sensitivity": 0.5}, {}, "inconclusive"),
        (LARGE | {"sensitivity": 0.5}, {"min_power": 0.8}, "pass"),
        (LARGE | {"n_flagged": 1, "n_untried": 1, "n_high": 0}, {"max_high": 1, "max_confirmed": 1}, "inconclusive"),
        (SMALL, {"max_extractable_share": 0.1}, "pass"),
        (SMALL | {"sensitivity": None}, {"min_power": 0.0}, "pass"),
        (SMALL | {"sensitivity": None}, {"max_extractable_share": None}, "pass"),
        (SMALL | {"n_flagged": 1, "n_high": 1, "n_recovered": 1}, {}, "fail"),
        (SMALL | {"problems": ("NaN",)}, {}, "untrusted"),
    ],
)
def test_an_audit_that_could_have_missed_too_much_does_not_pass(
    changes: dict[str, object], policy: dict[str, object], outcome: str
) -> None:
    judged = results(**changes)
    lax, strict = (decide(judged, Policy.model_validate(policy), strict=strict) for strict in (False, True))
    assert lax.outcome == strict.outcome == outcome
    assert lax.reasons == strict.reasons
    assert strict.exit_code == (3 if outcome == "inconclusive" else lax.exit_code)


def test_an_audit_whose_controls_give_training_images_does_not_pass() -> None:
    """They are no findings, but the model memorized them and the audit did not flag their prompts."""
    judged = results(**LARGE | {"n_controls": 30, "n_false_recoveries": 1, "n_flagged": 30, "n_high": 0})
    assert decide(judged, Policy(), n_control_copies=0).outcome == "pass"
    for policy in (Policy(), Policy(min_power=0.0)):
        verdict = decide(judged, policy, n_control_copies=1)
        assert (verdict.outcome, verdict.exit_code) == ("inconclusive", 0)
        assert verdict.reasons[0].startswith(
            "Controls, which are prompts that were not flagged, gave 1 training image:"
        )
    assert decide(judged, Policy(), n_control_copies=1, strict=True).exit_code == 3
    assert decide(judged, Policy(max_confirmed=1), n_control_copies=1).outcome == "pass"


def test_the_number_of_prompts_that_is_asked_for_is_enough() -> None:
    reason = decide(results(**SMALL), Policy()).reasons[0]
    needed = int(reason.split(". ")[-1].split(" prompts")[0].replace(",", ""))
    assert decide(results(**SMALL | {"n_prompts": needed, "n_scored": needed}), Policy()).outcome == "pass"
    fewer = SMALL | {"n_prompts": needed - 1, "n_scored": needed - 1}
    assert decide(results(**fewer), Policy()).outcome == "inconclusive"


def test_the_reason_names_what_is_not_known() -> None:
    unknown = results(**LARGE | {"sensitivity": None, "sensitivity_gap": "there is no reference; give --reference"})
    assert "there is no reference" in decide(unknown, Policy()).reasons[0]
