"""The annex claims no attack, canary, share or propensity that this run did not measure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flashbulb.reports.bounds.epsilon import epsilon_bound
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.evidence.attacks import attacks_of
from flashbulb.reports.tables.frame import Frame, frame_sentence
from flashbulb.reports.tables.propensity import Propensity
from tests.reports.canary_examples import CANARIES
from tests.reports.evidence.conftest import annex_of, plain, rows, section
from tests.reports.runs import N_PROMPTS, write_example

DRAWN = Frame("random", N_PROMPTS, 500, 900, 7, "0" * 64)
CENSUS = Frame("census", N_PROMPTS, N_PROMPTS, N_PROMPTS, None, "0" * 64)
TARGETED = Frame("targeted", N_PROMPTS, N_PROMPTS, None, None, "0" * 64)


def test_every_attack_is_run_or_has_a_reason_and_none_is_claimed_that_was_not_run(leaking: Path) -> None:
    run = load_checked(leaking)
    attacks = {attack.name: attack for attack in attacks_of(run)}
    assert all(len(attack.account) > 10 for attack in attacks.values())
    assert {name for name, attack in attacks.items() if attack.status == "run"} == {
        "Screening of every prompt by neurons",
        "Prompting with the audited captions, several seeds each",
        "Gradient ascent on the prompt's embeddings",
    }
    assert attacks["Extrapolation from the base model through the fine-tune"].status == "not applicable"
    assert {"Membership inference", "Adversarial initial noise (x_T)"} <= attacks.keys()


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({}, "not applicable", "No training images were given."),
        ({"train_images": "images"}, "not run", "Not among the strategies of this audit."),
        ({"train_images": "images", "strategies": ["known_image"]}, "not run", "an earlier strategy settled"),
    ],
)
def test_the_reason_that_an_attack_was_not_run_follows_the_settings(
    leaking: Path, settings: dict[str, Any], status: str, reason: str
) -> None:
    run = load_checked(leaking)
    changed = run._replace(record=replace(run.record, settings=settings))
    attacks = {attack.name: attack for attack in attacks_of(changed)}
    inversion = attacks["Inversion of a known training image"]
    assert inversion.status == status
    assert reason in inversion.account


def test_an_attack_that_ran_on_controls_alone_is_not_claimed(tmp_path: Path) -> None:
    run = load_checked(write_example(tmp_path / "run", {0: "high"}, likely=frozenset({0})))
    rows = run.tables.recoveries.to_pylist()
    control = next(row for row in rows if row["is_control"])
    climbed = run.tables.recoveries.from_pylist(
        [*rows, {**control, "strategy": "ascend"}], run.tables.recoveries.schema
    )
    changed = run._replace(tables=replace(run.tables, recoveries=climbed))
    ascent = {attack.name: attack for attack in attacks_of(changed)}["Gradient ascent on the prompt's embeddings"]
    assert ascent.status == "not run"
    assert "It ran on 1 control" in ascent.account


@pytest.mark.parametrize("frame", [DRAWN, CENSUS, TARGETED])
def test_the_frame_is_said_in_the_words_of_every_report(leaking: Path, frame: Frame) -> None:
    annex = annex_of(leaking, changes={"frame": frame})
    assert section(annex, "Sampling frame").blocks[0] == frame_sentence(frame)
    assert rows(annex, "Sampling frame").get("Seed of the draw") == (None if frame.seed is None else (str(frame.seed),))


def test_of_prompts_chosen_on_suspicion_no_share_is_stated(leaking: Path) -> None:
    assert "At 95 % confidence" in plain(annex_of(leaking, changes={"frame": DRAWN}))
    annex = annex_of(leaking, changes={"frame": TARGETED})
    assert rows(annex, "What was extractable")["Distinct images confirmed as extractable"] == (f"1 of {N_PROMPTS}",)
    power = section(annex, "Power").blocks[0].items
    assert "The prompts were chosen on suspicion, so no bound on a share follows." in power
    assert not [sentence for sentence in power if "95 % confidence" in sentence]


def test_capability_and_propensity_stand_apart(leaking: Path) -> None:
    ordinary = Propensity("reference", 400, "training_images", rate_of(1, 200), 1, rate_of(0, 200))
    annex = annex_of(leaking, changes={"propensity": ordinary})
    found = rows(annex, "What was extractable")
    assert found["Ordinary prompts whose only sample copies a training image"] == (
        "1 of 200 (0.5 %, 95 % interval 0.0127 % to 2.75 %)",
    )
    use = rows(annex, "Attacks run")["Ordinary use: prompts sampled once each"]
    assert use[1] == "run"
    assert use[2].startswith("1 of 200 reference prompts, sampled once, copy a training image")


def test_canaries_are_the_positive_control_of_the_model_itself(leaking: Path) -> None:
    planted = replace(CANARIES, privacy=epsilon_bound(60, 30, 24, 1e-5, 0.95))
    annex = annex_of(leaking, changes={"canaries": planted})
    assert "of the 30 canaries whose image is among their plain samples, the audit found 28" in plain(annex)
    assert "24 of 30 guesses were right" in plain(annex)
    assert "No canaries were planted" not in plain(annex)


def test_canaries_that_show_nothing_are_said_to_have_been_planted(leaking: Path) -> None:
    annex = annex_of(
        leaking, changes={"canaries": replace(CANARIES, refused="The model never saw them.", sensitivity=None)}
    )
    assert "The model never saw them." in plain(annex)
    assert "No canaries were planted" not in plain(annex)
