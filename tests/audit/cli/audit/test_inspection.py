"""Detectors are listed with source and cost, selected by name, and cost the evaluations that run.json records."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from diffusers import UNet2DConditionModel

from flashbulb.audit.detectors import ImageDetector, NeuronDetector, StepDetector, describe_cost, find_detectors
from flashbulb.audit.settings import DEFAULT_DETECTORS
from flashbulb.audit.stages.opening.detectors import list_detectors
from flashbulb.audit.statistics.scores import SCORED_REDUCTIONS
from tests.audit.commands import QUICK, refused, run_flashbulb, run_json, scores_of, text_file
from tests.audit.conftest import recording
from tests.audit.counting import counted_latents
from tests.toy import build_toy_pipe

DETECTORS = find_detectors()
IMAGE_DETECTORS = [name for name, detector in DETECTORS.items() if isinstance(detector, ImageDetector)]
OTHER_DETECTORS = [name for name in DETECTORS if name not in IMAGE_DETECTORS]
NOT_SAMPLED = ("--max-sampled", "0")
ONE_SAMPLED = ("--max-sampled", "1")  # and one control


class AuditedWithAll(NamedTuple):
    """An audit with every detector, and the latents that its UNet saw."""

    run: Path
    options: tuple[object, ...]
    n_latents: int


@pytest.fixture(scope="module")
def with_all(inputs, tmp_path_factory) -> AuditedWithAll:
    """An audit with every detector. Read-only."""
    run = tmp_path_factory.mktemp("detectors") / "run"
    options = (*inputs.options(run), *ONE_SAMPLED, "--detectors", "all")
    with counted_latents() as count:
        answer = run_flashbulb("audit", *options)
    assert answer.code == 0, answer.err
    return AuditedWithAll(run, options, count.n_latents)


@pytest.fixture(scope="module")
def without(inputs, tmp_path_factory) -> Path:
    """An audit without published detectors and without samples. Read-only."""
    run = tmp_path_factory.mktemp("detectors") / "none"
    answer = run_flashbulb("audit", *inputs.options(run), *NOT_SAMPLED, "--detectors", "none")
    assert answer.code == 0, answer.err
    return run


def evaluations_of(run: Path) -> dict[str, int]:
    return run_json(run)["evaluations"]


def added_by(run: Path, without: Path) -> list[str]:
    return [name for name in scores_of(run).columns if name not in scores_of(without).columns]


def test_every_detector_is_listed_with_source_and_cost():
    rows = {name: rest for name, *rest in list_detectors()}
    assert list(rows) == [*(f"spikes_{kind}" for kind in SCORED_REDUCTIONS), *DETECTORS]
    for name, detector in DETECTORS.items():
        reads, cost, by_default, source = rows[name]
        assert source == detector.source
        assert cost == describe_cost(detector)
        assert by_default == ("yes" if name in DEFAULT_DETECTORS else "no")
        assert reads
    assert all(all(cell.strip() for cell in rest) for rest in rows.values())


def test_command_prints_the_list_of_detectors():
    answer = run_flashbulb("detectors")
    assert answer.code == 0, answer.err
    printed = "".join(answer.out.split())
    for row in list_detectors():
        assert all("".join(cell.split()) in printed for cell in row)


def test_cost_is_given_in_seeds_and_images():
    def step(n):
        return StepDetector("x", "", n, lambda step: step.noise)

    def image(n):
        return ImageDetector("x", "", n, lambda sampled: 0.0)

    assert [describe_cost(step(n)) for n in (0, 1, 3)] == ["0", "n", "3 n"]
    neurons = NeuronDetector("x", "", "cross_v", "all_mean", 0, lambda reference: {}, lambda learnt, candidates: ())
    assert describe_cost(neurons) == "0"
    assert [describe_cost(image(n)) for n in (0, 1, 3)] == ["sampling", "sampling + m", "sampling + 3 m"]


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_adds_its_column_at_the_listed_cost(inputs, without, tmp_path, name):
    run, detector = tmp_path / "run", DETECTORS[name]
    with counted_latents() as count:
        if isinstance(detector, ImageDetector):
            assert run_flashbulb("audit", *inputs.options(run), *ONE_SAMPLED, "--detectors", name).code == 0
        else:  # never reads a sample
            assert run_flashbulb("record", *recording(inputs, run), "--detectors", name).code == 0
            assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    assert added_by(run, without) == [name]
    shared = [column for column in scores_of(without).columns if column != "tier"]
    pd.testing.assert_frame_equal(scores_of(run)[shared], scores_of(without)[shared], check_exact=True)
    recorded, settings = evaluations_of(run), run_json(run)["settings"]
    assert sum(recorded.values()) == count.n_latents
    without_detector = evaluations_of(without)["record"]
    if isinstance(detector, ImageDetector):
        recoveries = pd.read_parquet(run / "recoveries.parquet")
        n_images, per_image = settings["n_samples"] * len(recoveries), 2 * settings["sample_steps"]
        assert recorded["recover"] == recoveries["evaluations"].sum() >= n_images * per_image > 0
        assert recorded.get("detect_pictures", 0) == n_images * detector.evaluations_per_image
        assert recorded["record"] == without_detector
    else:
        assert recorded.keys() == {"record"}
        n_seeds, extra = settings["n_seeds"], max(0, detector.evaluations_per_seed - 1)
        n_prompts = len(scores_of(run)) + run_json(run)["calibration"]["n_reference"]
        for_empty_prompt = recorded["record"] - without_detector - extra * n_seeds * n_prompts
        assert for_empty_prompt in ((0, n_seeds) if extra else (0,))  # at a second timestep, shared by all prompts


def test_a_unet_without_cross_attention_in_its_second_down_block_has_no_attention_entropy(inputs, tmp_path):
    pipe = build_toy_pipe()
    blocks = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
    blocks["up_block_types"] = ("UpBlock2D", "CrossAttnUpBlock2D")
    pipe.unet = UNet2DConditionModel.from_config({**pipe.unet.config, **blocks})
    pipe.save_pretrained(tmp_path / "model")
    texts = ("--prompts", inputs.prompts, "--reference", inputs.reference)
    options = ("--model", tmp_path / "model", *texts, *QUICK, "--out", tmp_path / "run")
    assert "attention_entropy reads what" in refused("validate", *options, "--detectors", "attention_entropy")
    answer = run_flashbulb("validate", *options, "--detectors", "all", "--json")
    assert answer.code == 0, answer.err
    assert set(DETECTORS) - set(json.loads(answer.out)["detectors"]) == {"attention_entropy"}


def test_several_detectors_add_their_columns_once(inputs, without, tmp_path):
    named = ("sharpness", "nemo", "sharpness")
    chosen = [part for name in named for part in ("--detectors", name)]
    assert run_flashbulb("audit", *inputs.options(tmp_path / "run"), *NOT_SAMPLED, *chosen).code == 0
    assert sorted(added_by(tmp_path / "run", without)) == sorted(set(named))


def test_all_detectors_add_all_columns_and_change_no_score(with_all, without):
    assert sorted(added_by(with_all.run, without)) == sorted(DETECTORS)
    own = [name for name in scores_of(without).columns if name.startswith("spike")]
    pd.testing.assert_frame_equal(scores_of(with_all.run)[own], scores_of(without)[own], check_exact=True)


def test_spike_scores_remain_without_detectors(without):
    columns = set(scores_of(without).columns)
    assert not columns & set(DETECTORS)
    assert {"spike_score", *(f"spikes_{kind}" for kind in SCORED_REDUCTIONS)} <= columns


def test_default_detectors_cost_nothing_beyond_the_spike_score(finished, without):
    assert sorted(added_by(finished.run, without)) == sorted(DEFAULT_DETECTORS)
    assert evaluations_of(finished.run)["record"] == evaluations_of(without)["record"]


def test_every_value_is_finite_or_null(with_all):
    scores = scores_of(with_all.run)
    for name in DETECTORS:
        values = scores[name].dropna()
        assert len(values) > 0, name
        assert np.isfinite(values).all(), name
    assert scores[OTHER_DETECTORS].notna().all(axis=None)


def test_image_detectors_score_only_sampled_prompts(with_all):
    scores = scores_of(with_all.run).set_index("prompt_id")
    sampled = set(pd.read_parquet(with_all.run / "recoveries.parquet")["prompt_id"])
    assert 0 < len(sampled) < len(scores)
    for name in IMAGE_DETECTORS:
        assert set(scores.index[scores[name].notna()]) == sampled
    assert set(scores.index[scores["tier"] == 3]) == sampled


def test_detectors_that_need_two_seeds_are_null_with_one(inputs, tmp_path):
    options = (*inputs.options(tmp_path / "run"), *NOT_SAMPLED, "--seeds", "1")
    named = ("one_step_agreement", "mean_one_step_agreement", "nemo")
    chosen = [part for name in named for part in ("--detectors", name)]
    assert run_flashbulb("audit", *options, *chosen).code == 0
    scores = scores_of(tmp_path / "run")
    assert scores[["one_step_agreement", "mean_one_step_agreement"]].isna().all(axis=None)
    assert scores["nemo"].notna().all()


def test_recorded_evaluations_equal_the_latents_that_the_unet_saw(with_all):
    recorded = evaluations_of(with_all.run)
    assert recorded["record"] > 0
    assert recorded["recover"] > 0
    assert sum(recorded.values()) == with_all.n_latents


@pytest.mark.parametrize(
    "more",
    [("--guidance-scale", "1", "--batch-size", "3"), ("--tiers", "screened")],
    ids=" ".join,
)
def test_recorded_evaluations_are_right_for_other_settings(inputs, tmp_path, more):
    with counted_latents() as count:
        answer = run_flashbulb("audit", *inputs.options(tmp_path / "run"), *ONE_SAMPLED, *more)
    assert answer.code == 0, answer.err
    assert sum(evaluations_of(tmp_path / "run").values()) == count.n_latents


@pytest.mark.parametrize("wrong", ["astrology", "", "NEMO", "spike_score"])
def test_unknown_detector_is_one_line_that_lists_the_known_ones(inputs, tmp_path, wrong):
    line = refused("audit", *inputs.options(tmp_path / "run"), "--detectors", wrong)
    assert f"--detectors: {wrong!r} is not one of all, none, " in line
    assert all(name in line for name in DETECTORS)
    assert not (tmp_path / "run").exists()


def test_unknown_detector_is_refused_beside_known_ones(inputs, tmp_path):
    options = inputs.options(tmp_path / "run")
    assert "'astrology'" in refused("audit", *options, "--detectors", "nemo", "--detectors", "astrology")
    few = text_file(tmp_path / "few.txt", ["a", "b", "c", "d"])
    options = ("--model", inputs.model, "--reference", few, "--out", tmp_path / "run")
    assert "'astrology'" in refused("calibrate", *options, "--detectors", "astrology")
    assert not (tmp_path / "run").exists()


def test_unknown_detector_is_refused_beside_all(inputs, tmp_path):
    options = inputs.options(tmp_path / "run")
    assert "'astrology'" in refused("audit", *options, *NOT_SAMPLED, "--detectors", "all", "--detectors", "astrology")


def test_image_detectors_have_their_columns_even_without_samples(inputs, without, tmp_path):
    chosen = [part for name in IMAGE_DETECTORS for part in ("--detectors", name)]
    assert run_flashbulb("audit", *inputs.options(tmp_path / "run"), *NOT_SAMPLED, *chosen).code == 0
    assert added_by(tmp_path / "run", without) == IMAGE_DETECTORS
    assert scores_of(tmp_path / "run")[IMAGE_DETECTORS].isna().all(axis=None)


def test_detector_whose_sites_are_not_recorded_is_not_dropped_silently(inputs, tmp_path):
    options = (*inputs.options(tmp_path / "run"), *NOT_SAMPLED, "--sites", "feed_forward", "--detectors", "nemo")
    answer = run_flashbulb("audit", *options)
    assert answer.code == 2 or "nemo" in scores_of(tmp_path / "run")


def test_rerun_records_the_same_evaluations(with_all):
    before = evaluations_of(with_all.run)
    assert run_flashbulb("audit", *with_all.options).code == 0
    assert evaluations_of(with_all.run) == before
