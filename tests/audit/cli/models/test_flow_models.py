"""A model that is no UNet is recorded, flagged, sampled and reported; what is not offered yet is said and refused."""

import json

import pandas as pd
import pytest

from flashbulb.hooks import NeuronSet, save_neurons
from flashbulb.reports.tables.run_record import load_run
from tests.audit.commands import CANDIDATES, ODD, QUICK, REFERENCE, run_flashbulb, text_file
from tests.toy_transformers import build_toy_sd3_pipe

NOT_OFFERED = [
    "ascend",
    "ascend_shortened",
    "cyclic",
    "known_image",
    "extrapolate",
    "localize",
    "ablate",
    "discover",
    "pull",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd3")
    build_toy_sd3_pipe().save_pretrained(folder / "model")
    text_file(folder / "candidates.txt", CANDIDATES)
    text_file(folder / "reference.txt", REFERENCE)
    return folder


def inputs(folder):
    files = ("--prompts", folder / "candidates.txt", "--reference", folder / "reference.txt")
    return ("--model", folder / "model", *files)


def planned(folder, *choices):
    answer = run_flashbulb("validate", *inputs(folder), *QUICK[:-2], *choices, "--out", folder / "planned", "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


@pytest.fixture(scope="module")
def audited(folder):
    answer = run_flashbulb("audit", *inputs(folder), *QUICK[:-2], "--out", folder / "run")
    assert answer.code == 0, answer.err
    return folder / "run"


def test_sites_say_the_family_and_what_is_not_offered(folder):
    found = json.loads(run_flashbulb("sites", folder / "model", "--json").out)
    assert {site["kind"] for site in found["sites"]} == {"text_mlp", "feed_forward"}
    assert (found["family"], found["not_offered"]) == ("Stable Diffusion 3", NOT_OFFERED)
    assert run_flashbulb("sites", folder / "model").out.splitlines()[-1].endswith(", ".join(NOT_OFFERED))


def test_validate_says_what_is_not_offered_and_plans_without_it(folder):
    plan = planned(folder)
    assert plan["not_offered"] == NOT_OFFERED
    assert plan["strategies"] == ["sample"]
    assert {sites["kind"] for sites in plan["sites"]} == {"text_mlp", "feed_forward"}
    assert "nemo" not in plan["detectors"]
    lines = run_flashbulb("validate", *inputs(folder), *QUICK[:-2], "--out", folder / "planned").out.splitlines()
    assert next(line for line in lines if line.startswith("family")).endswith(", ".join(NOT_OFFERED))


def test_audit_records_flags_samples_and_reports(audited):
    record = load_run(audited)
    assert record.status == "complete"
    scores = pd.read_parquet(audited / "scores.parquet")
    assert scores["spike_score"].notna().all()
    assert scores["text_conditional_noise"].notna().all()
    assert ODD in scores.loc[scores["flagged"], "prompt"].tolist()
    step = pd.read_parquet(audited / "activations/candidates/step/part-00000.parquet")
    assert set(step["timestep"]) == {1000}
    assert set(pd.read_parquet(audited / "recoveries.parquet")["strategy"]) == {"sample"}
    assert (audited / "report.html").stat().st_size > 10_000


def test_a_calibration_serves_audits_with_the_same_choices(folder, audited):
    reference = ("--reference", folder / "reference.txt", "--seeds", 2)
    assert run_flashbulb("calibrate", "--model", folder / "model", *reference, "--out", folder / "saved").code == 0
    files = ("--model", folder / "model", "--prompts", folder / "candidates.txt", "--calibration", folder / "saved")
    answer = run_flashbulb("audit", *files, *QUICK[:-2], "--out", folder / "calibrated")
    assert answer.code == 0, answer.err
    scores = [pd.read_parquet(run / "scores.parquet") for run in (folder / "calibrated", audited)]
    pd.testing.assert_frame_equal(*scores, check_exact=True)


def test_validate_and_audit_count_the_same_evaluations(folder, audited):
    plan = planned(folder)
    spent = load_run(audited).evaluations
    assert spent["record"] == plan["evaluations"]["record"]["low"] == plan["evaluations"]["record"]["high"]
    assert plan["evaluations"]["recover"]["low"] <= spent["recover"] <= plan["evaluations"]["recover"]["high"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("--strategy", "sample", "--strategy", "ascend"), "ascend is not offered for Stable Diffusion 3 yet"),
        (("--sites", "cross_v"), "no site of kind cross_v"),
        (("--detectors", "attention_entropy"), "--detectors attention_entropy reads what Stable Diffusion 3 has not"),
        (("--tiers", "screened", "--sites", "cross_v", "--sites", "feed_forward"), "no site of kind cross_v"),
    ],
)
def test_choices_that_are_not_offered_are_refused_before_anything_is_recorded(folder, choice, message):
    answer = run_flashbulb("audit", *inputs(folder), *choice, "--out", folder / "refused")
    assert answer.code == 2
    assert [message in line for line in answer.errors] == [True]
    assert not (folder / "refused").exists()


def test_commands_that_are_not_offered_are_refused(folder):
    save_neurons(folder / "neurons.json", NeuronSet({"transformer.transformer_blocks.0.ff.net.2": (0, 1)}))
    discover = run_flashbulb("discover", folder / "model", "--budget", 9000, "--out", folder / "found")
    edit = ("--neurons", folder / "neurons.json", "--by", "zero", "--prompt", "a star")
    ablate = run_flashbulb("ablate", folder / "model", *edit, "--out", folder / "without")
    for name, answer in (("discover", discover), ("ablate", ablate)):
        assert answer.code == 2
        (line,) = answer.errors
        assert f"{name} is not offered for Stable Diffusion 3 yet" in line
    assert not (folder / "found").exists()
    assert not (folder / "without").exists()


def test_all_detectors_are_those_that_the_model_can_feed(folder):
    plan = planned(folder, "--detectors", "all")
    assert "sharpness" in plan["detectors"]
    assert not {
        "attention_entropy",
        "mean_attention_entropy",
        "bright_ending",
        "balanced_representation",
        "nemo",
    } & set(plan["detectors"])
