"""An audit that could have missed too much does not pass, and says how many prompts would be enough."""

import pytest

from flashbulb.reports.gate.decide import decide
from flashbulb.reports.gate.policy import Policy
from tests.reports.examples import results

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
