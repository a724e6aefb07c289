"""The verdict follows the policy, and what cannot be trusted never passes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reports.decide import Policy, Results, decide
from reports.rates import percent, rate_of, rate_text, wilson_interval
from tests.reports.examples import results

COUNTS = st.integers(-2, 50)
RATES = st.floats(0, 1)
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
)
ANY_POLICY = st.builds(
    Policy,
    max_high=st.integers(0, 50),
    max_confirmed=st.integers(0, 50),
    max_flagged_rate=st.none() | RATES,
    min_coverage=st.floats(0, 1, exclude_min=True),
    max_false_recovery_rate=st.none() | RATES,
)


@given(ANY_RESULTS, ANY_POLICY)
def test_every_verdict_has_its_exit_code_and_a_reason(any_results: Results, policy: Policy) -> None:
    verdict = decide(any_results, policy)
    assert verdict.exit_code == {"pass": 0, "fail": 1, "untrusted": 3}[verdict.outcome]
    assert verdict.reasons
    assert all(verdict.reasons)


@given(ANY_RESULTS, ANY_POLICY, st.sampled_from(["problems", "status", "n_prompts"]))
def test_distrust_outranks_failure(any_results: Results, policy: Policy, what: str) -> None:
    distrusted = {"problems": ("site ff did not fire",), "status": "running", "n_prompts": 0}[what]
    assert decide(dataclasses.replace(any_results, **{what: distrusted}), policy).exit_code == 3


@given(ANY_RESULTS, ANY_POLICY)
def test_a_pass_is_complete_covered_and_not_empty(any_results: Results, policy: Policy) -> None:
    if decide(any_results, policy).outcome == "pass":
        assert any_results.status == "complete"
        assert not any_results.problems
        assert 0 < any_results.n_scored <= any_results.n_prompts
        assert any_results.n_scored >= policy.min_coverage * any_results.n_prompts * (1 - 1e-12)
        assert any_results.n_high <= policy.max_high
        assert any_results.n_confirmed_pictures <= policy.max_confirmed


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
        ({"n_false_recoveries": 2}, {}, 3),
        ({"n_false_recoveries": 2}, {"max_false_recovery_rate": None}, 0),
        ({"n_false_recoveries": 1}, {}, 0),
        ({"n_high": 3}, {}, 3),
        ({"n_recovered": 2}, {}, 0),
        ({"n_recovered": 3}, {}, 3),
        ({"fpr": float("nan")}, {}, 3),
        ({"n_confirmed_pictures": -1}, {}, 3),
    ],
)
def test_limits_are_inclusive_and_contradictions_are_not_trusted(
    changes: dict[str, object], policy: dict[str, object], exit_code: int
) -> None:
    assert decide(results(**changes), Policy.model_validate(policy)).exit_code == exit_code


def test_an_untrusted_audit_still_says_what_it_found() -> None:
    reasons = decide(results(n_high=1, problems=("NaN at site ff.",)), Policy()).reasons
    assert reasons == ("NaN at site ff.", "1 of 100 prompts leak with high severity (limit 0).")


def test_unknown_policy_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_hihg"):
        Policy.model_validate({"max_hihg": 1})


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_interval_holds_the_rate(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert low < high


def test_wilson_interval_equals_scipy() -> None:
    from scipy.stats import binomtest

    for successes, trials in ((0, 10), (1, 10), (37, 90), (5, 5)):
        expected = binomtest(successes, trials).proportion_ci(method="wilson")
        assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high))


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_rate_says_its_counts_and_its_interval(n: int, of: int) -> None:
    rate = rate_of(min(n, of), of)
    assert (rate.n, rate.of) == (min(n, of), of)
    assert (rate.low, rate.high) == wilson_interval(min(n, of), of)
    text = rate_text(rate)
    assert text == "none were tried" if of == 0 else percent(rate.low) in text and percent(rate.high) in text
