"""Detectors are listed with source and cost, chosen by name, and cost the UNet evaluations that run.json states."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from audit.config import DEFAULT_DETECTORS
from audit.detectors import NeuronDetector, PictureDetector, StepDetector, available
from audit.detectors.spikes import SCORED_REDUCTIONS
from audit.listing import detector_rows, evaluations
from tests.audit.commands import engram, run_json, scores_of, text_file
from tests.audit.counting import counted_latents
from tests.audit.test_cli import refused

DETECTORS = available()
OF_PICTURES = [name for name, detector in DETECTORS.items() if isinstance(detector, PictureDetector)]
OF_ALL_PROMPTS = [name for name in DETECTORS if name not in OF_PICTURES]
UNSAMPLED = ("--max-sampled", "0")
ONE_SAMPLED = ("--max-sampled", "1")  # and one control


class AuditedWithAll(NamedTuple):
    """An audit with every detector, and the latents that its UNet saw."""

    run: Path
    options: tuple[object, ...]
    n_latents: int


@pytest.fixture(scope="module")
def with_all(inputs, tmp_path_factory) -> AuditedWithAll:
    """Leave it as it was."""
    run = tmp_path_factory.mktemp("detectors") / "run"
    options = (*inputs.options(run), *ONE_SAMPLED, "--detectors", "all")
    with counted_latents() as count:
        answer = engram("audit", *options)
    assert answer.code == 0, answer.err
    return AuditedWithAll(run, options, count.n_latents)


@pytest.fixture(scope="module")
def without(inputs, tmp_path_factory) -> Path:
    """An audit with no published detector that sampled nothing; leave it as it was."""
    run = tmp_path_factory.mktemp("detectors") / "none"
    answer = engram("audit", *inputs.options(run), *UNSAMPLED, "--detectors", "none")
    assert answer.code == 0, answer.err
    return run


def evaluations_of(run: Path) -> dict[str, int]:
    return run_json(run)["evaluations"]


def added_by(run: Path, without: Path) -> list[str]:
    return [name for name in scores_of(run).columns if name not in scores_of(without).columns]


def test_every_detector_is_listed_with_source_and_cost():
    rows = {name: rest for name, *rest in detector_rows()}
    assert list(rows) == [*(f"spikes_{kind}" for kind in SCORED_REDUCTIONS), *DETECTORS]
    for name, detector in DETECTORS.items():
        reads, cost, by_default, source = rows[name]
        assert source == detector.source
        assert cost == evaluations(detector)
        assert by_default == ("yes" if name in DEFAULT_DETECTORS else "no")
        assert reads
    assert all(all(cell.strip() for cell in rest) for rest in rows.values())


def test_command_prints_what_is_listed():
    answer = engram("detectors")
    assert answer.code == 0, answer.err
    printed = "".join(answer.out.split())
    for row in detector_rows():
        assert all("".join(cell.split()) in printed for cell in row)


def test_cost_is_stated_in_seeds_and_pictures():
    def step(n):
        return StepDetector("x", "", n, lambda step: step.noise)

    def picture(n):
        return PictureDetector("x", "", n, lambda sampled: 0.0)

    assert [evaluations(step(n)) for n in (0, 1, 3)] == ["0", "n", "3 n"]
    assert evaluations(NeuronDetector("x", "", "cross_v", "all_mean", 0, lambda reference: len)) == "0"
    assert [evaluations(picture(n)) for n in (0, 1, 3)] == ["sampling", "sampling + m", "sampling + 3 m"]


@pytest.mark.parametrize("name", DETECTORS)
def test_one_detector_adds_its_column_and_costs_what_is_listed(inputs, without, tmp_path, name):
    run, detector = tmp_path / "run", DETECTORS[name]
    with counted_latents() as count:
        assert engram("audit", *inputs.options(run), *ONE_SAMPLED, "--detectors", name).code == 0
    assert added_by(run, without) == [name]
    shared = [column for column in scores_of(without).columns if column != "tier"]
    pd.testing.assert_frame_equal(scores_of(run)[shared], scores_of(without)[shared], check_exact=True)
    stated, settings = evaluations_of(run), run_json(run)["settings"]
    assert sum(stated.values()) == count.n_latents
    recoveries = pd.read_parquet(run / "recoveries.parquet")
    n_pictures = settings["n_samples"] * len(recoveries)
    of_sampling, of_recording = 2 * settings["sample_steps"], evaluations_of(without)["record"]
    assert stated["recover"] == recoveries["evaluations"].sum() >= n_pictures * of_sampling
    if isinstance(detector, PictureDetector):
        assert stated.get("detect_pictures", 0) == n_pictures * detector.evaluations_per_picture
        assert stated["record"] == of_recording
    else:
        assert "detect_pictures" not in stated
        n_seeds, extra = settings["n_seeds"], max(0, detector.evaluations_per_seed - 1)
        n_prompts = len(scores_of(run)) + run_json(run)["calibration"]["n_reference"]
        of_empty_prompt = stated["record"] - of_recording - extra * n_seeds * n_prompts
        assert of_empty_prompt in ((0, n_seeds) if extra else (0,))  # at a second timestep, shared by all prompts


def test_several_detectors_add_their_columns_once(inputs, without, tmp_path):
    named = ("sharpness", "nemo", "sharpness")
    chosen = [part for name in named for part in ("--detectors", name)]
    assert engram("audit", *inputs.options(tmp_path / "run"), *UNSAMPLED, *chosen).code == 0
    assert sorted(added_by(tmp_path / "run", without)) == sorted(set(named))


def test_all_detectors_add_all_columns_and_change_no_score(with_all, without):
    assert sorted(added_by(with_all.run, without)) == sorted(DETECTORS)
    own = [name for name in scores_of(without).columns if name.startswith("spike")]
    pd.testing.assert_frame_equal(scores_of(with_all.run)[own], scores_of(without)[own], check_exact=True)


def test_no_detector_leaves_the_spike_scores(without):
    columns = set(scores_of(without).columns)
    assert not columns & set(DETECTORS)
    assert {"spike_score", *(f"spikes_{kind}" for kind in SCORED_REDUCTIONS)} <= columns


def test_default_detectors_are_those_that_cost_nothing_beyond_the_spike_score(finished, without):
    assert sorted(added_by(finished.run, without)) == sorted(DEFAULT_DETECTORS)
    assert evaluations_of(finished.run)["record"] == evaluations_of(without)["record"]


def test_every_value_is_finite_or_null(with_all):
    scores = scores_of(with_all.run)
    for name in DETECTORS:
        values = scores[name].dropna()
        assert len(values) > 0, name
        assert np.isfinite(values).all(), name
    assert scores[OF_ALL_PROMPTS].notna().all(axis=None)


def test_picture_detectors_judge_the_sampled_prompts_alone(with_all):
    scores = scores_of(with_all.run).set_index("prompt_id")
    sampled = set(pd.read_parquet(with_all.run / "recoveries.parquet")["prompt_id"])
    assert 0 < len(sampled) < len(scores)
    for name in OF_PICTURES:
        assert set(scores.index[scores[name].notna()]) == sampled
    assert set(scores.index[scores["tier"] == 3]) == sampled


def test_one_seed_is_null_where_two_are_needed(inputs, tmp_path):
    given = (*inputs.options(tmp_path / "run"), *UNSAMPLED, "--seeds", "1")
    assert engram("audit", *given, "--detectors", "one_step_agreement", "--detectors", "nemo").code == 0
    scores = scores_of(tmp_path / "run")
    assert scores["one_step_agreement"].isna().all()
    assert scores["nemo"].notna().all()


def test_stated_evaluations_are_the_latents_that_the_unet_saw(with_all):
    stated = evaluations_of(with_all.run)
    assert stated["record"] > 0
    assert stated["recover"] > 0
    assert sum(stated.values()) == with_all.n_latents


@pytest.mark.parametrize(
    "more",
    [("--guidance-scale", "1"), ("--batch-size", "3"), ("--tiers", "screened")],
    ids=" ".join,
)
def test_stated_evaluations_are_those_of_other_settings_too(inputs, tmp_path, more):
    with counted_latents() as count:
        answer = engram("audit", *inputs.options(tmp_path / "run"), *ONE_SAMPLED, *more)
    assert answer.code == 0, answer.err
    assert sum(evaluations_of(tmp_path / "run").values()) == count.n_latents


@pytest.mark.parametrize("wrong", ["astrology", "", "NEMO", "spike_score"])
def test_unknown_detector_is_one_line_that_names_the_known(inputs, tmp_path, wrong):
    line = refused("audit", *inputs.options(tmp_path / "run"), "--detectors", wrong)
    assert f"--detectors: {wrong!r} is none of all, none, " in line
    assert all(name in line for name in DETECTORS)
    assert not (tmp_path / "run").exists()


def test_unknown_detector_is_refused_beside_known_ones(inputs, tmp_path):
    given = inputs.options(tmp_path / "run")
    assert "'astrology'" in refused("audit", *given, "--detectors", "nemo", "--detectors", "astrology")
    few = text_file(tmp_path / "few.txt", ["a", "b", "c", "d"])
    given = ("--model", inputs.model, "--reference", few, "--out", tmp_path / "run")
    assert "'astrology'" in refused("calibrate", *given, "--detectors", "astrology")
    assert not (tmp_path / "run").exists()


def test_unknown_detector_is_refused_beside_all(inputs, tmp_path):
    given = inputs.options(tmp_path / "run")
    assert "'astrology'" in refused("audit", *given, *UNSAMPLED, "--detectors", "all", "--detectors", "astrology")


@pytest.mark.parametrize("name", OF_PICTURES)
def test_picture_detector_has_its_column_even_where_nothing_was_sampled(inputs, without, tmp_path, name):
    assert engram("audit", *inputs.options(tmp_path / "run"), *UNSAMPLED, "--detectors", name).code == 0
    assert added_by(tmp_path / "run", without) == [name]
    assert scores_of(tmp_path / "run")[name].isna().all()


def test_detector_whose_sites_are_not_recorded_is_not_dropped_silently(inputs, tmp_path):
    given = (*inputs.options(tmp_path / "run"), *UNSAMPLED, "--sites", "feed_forward", "--detectors", "nemo")
    answer = engram("audit", *given)
    assert answer.code == 2 or "nemo" in scores_of(tmp_path / "run")


def test_the_same_command_again_states_the_same_evaluations(inputs, tmp_path):
    options = (*inputs.options(tmp_path / "run"), *UNSAMPLED, "--detectors", "anisotropy")
    assert engram("audit", *options).code == 0
    before = evaluations_of(tmp_path / "run")
    assert engram("audit", *options).code == 0
    assert evaluations_of(tmp_path / "run") == before
