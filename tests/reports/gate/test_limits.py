"""Each limit of a policy and each reason for distrust decides as it is documented."""

import pytest

from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
from tests.reports.examples import results

MEASURED = {"n_medium": 1, "n_low": 1, "n_left_out": 0, "n_untried": 0, "style_shift": 0.6}


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


def test_an_untrusted_audit_still_states_the_limits_it_exceeds() -> None:
    reasons = decide(results(n_high=1, problems=("NaN at site ff.",)), Policy()).reasons
    assert reasons == ("NaN at site ff.", "Prompts with a recovered image (high severity): 1 of 100 (limit 0).")
