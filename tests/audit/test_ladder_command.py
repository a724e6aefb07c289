"""An audit takes what it flags up the whole ladder, states every rung, and makes none of them twice."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from PIL import Image

from audit.checks import check_strategies
from audit.config import AuditSettings, SettingsError
from tests.audit.commands import CANDIDATES, ODD, digests, engram, run_json, scores_of
from tests.audit.counting import counted_latents

FEW = ("--ascend-steps", "1", "--ascend-restarts", "2", "--max-sampled", "1", "--detectors", "none", "--samples", "2")


OF_EMPTY_PROMPT = 2  # seeds, which a recorder evaluates before it looks at what is there


class Climbed(NamedTuple):
    """An audit of all rungs: its run, the options, and the latents that its UNet saw."""

    run: Path
    options: tuple[object, ...]
    n_latents: int


@pytest.fixture(scope="module")
def climbed(inputs, tmp_path_factory) -> Climbed:
    """Leave it as it was."""
    folder = tmp_path_factory.mktemp("ladder")
    (folder / "training").mkdir()
    Image.effect_noise((16, 16), 90).convert("RGB").save(folder / "training" / "stranger.png")
    rungs = [part for strategy in ("sample", "ascend", "cyclic") for part in ("--strategy", strategy)]
    options = (*inputs.options(folder / "run"), *FEW, *rungs, "--train-images", folder / "training")
    with counted_latents() as count:
        answer = engram("audit", *options)
    assert answer.code == 0, answer.err
    return Climbed(folder / "run", options, count.n_latents)


def test_recoveries_have_a_row_a_rung_for_the_flagged_and_the_control(climbed):
    recoveries = pd.read_parquet(climbed.run / "recoveries.parquet")
    prompts = scores_of(climbed.run).set_index("prompt_id")["prompt"]
    assert {prompts[i] for i in recoveries[~recoveries["is_control"]]["prompt_id"]} == {ODD}
    assert recoveries["prompt_id"].nunique() == 2
    ladder = ["sample-0", "ascend-0", "ascend-1", "cyclic-0"]
    for _, of_prompt in recoveries.groupby("prompt_id"):
        names = (of_prompt["strategy"] + "-" + of_prompt["restart"].astype(str)).tolist()
        confirmed = of_prompt["verdict"].eq("confirmed").tolist()
        assert names == ladder[: len(names)]
        assert not any(confirmed[:-1])
        assert confirmed[-1] or names == ladder


def test_every_rungs_picture_states_its_prompt_seed_and_settings(climbed):
    recoveries = pd.read_parquet(climbed.run / "recoveries.parquet")
    fingerprint = run_json(climbed.run)["model"]["fingerprint"]
    for row in recoveries.itertuples():
        with Image.open(climbed.run / row.image_path) as image:
            stated = json.loads(image.text["engram"])
        assert stated["prompt"] in CANDIDATES
        assert (stated["fingerprint"], stated["run_seed"]) == (fingerprint, 0)
        if row.strategy == "sample":
            assert {"image_index", "num_inference_steps", "guidance_scale"} <= stated.keys()
        else:
            assert (stated["strategy"], stated["restart"]) == (row.strategy, row.restart)
            assert {"sampling_n_samples", "sampling_num_inference_steps"} <= stated.keys()
            made_by = {"n_steps", "learning_rate", "radius"} if row.strategy == "ascend" else {"n_cycles", "strength"}
            assert made_by <= stated.keys()


def test_evaluations_are_the_latents_that_the_unet_saw_and_two_for_each_backward_pass(climbed):
    recoveries, stated = pd.read_parquet(climbed.run / "recoveries.parquet"), run_json(climbed.run)["evaluations"]
    assert stated["recover"] == recoveries["evaluations"].sum()
    n_ascents = int(recoveries["strategy"].eq("ascend").sum())  # of one step each
    assert sum(stated.values()) == climbed.n_latents + 2 * n_ascents


def test_the_same_command_again_makes_nothing_anew(climbed):
    kept = {name: digest for name, digest in digests(climbed.run).items() if name.startswith(("images", "recovery"))}
    recoveries = pd.read_parquet(climbed.run / "recoveries.parquet")
    files = {path: path.stat().st_mtime_ns for name in kept for path in [climbed.run / name]}
    with counted_latents() as count:
        assert engram("audit", *climbed.options).code == 0
    assert count.n_latents == OF_EMPTY_PROMPT
    pd.testing.assert_frame_equal(pd.read_parquet(climbed.run / "recoveries.parquet"), recoveries, check_exact=True)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert any(name.endswith("ascend-1.safetensors") for name in kept)


def test_a_lost_picture_comes_back_from_its_rung(climbed, tmp_path):
    run = shutil.copytree(climbed.run, tmp_path / "run")
    lost = next(run.glob("images/*/ascend-0.png"))
    lost.unlink()
    options = [run if option == climbed.run else option for option in climbed.options]
    with counted_latents() as count:
        assert engram("audit", *options).code == 0
    assert count.n_latents == OF_EMPTY_PROMPT
    assert lost.is_file()


def settings(**changes):
    return AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="o", **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strategies": ("ascend",)}, "every ladder starts with sample"),
        ({"strategies": ("sample", "known_image")}, "give --train-images"),
        ({"sites": ("text_mlp",), "strategies": ("sample", "ascend")}, "add --sites feed_forward, or leave ascend out"),
        (
            {"sites": ("feed_forward",), "ascend_kind": "cross_out", "strategies": ("sample", "ascend")},
            "add --sites cross_out",
        ),
    ],
)
def test_a_strategy_without_what_it_needs_is_refused(changes, reason):
    with pytest.raises(SettingsError, match=reason):
        check_strategies(settings(**changes))


def test_ascents_are_left_out_of_the_default_where_nothing_is_recorded_that_they_could_climb():
    assert settings().strategies == ("sample", "ascend", "cyclic")
    text_only = settings(sites=("text_mlp",))
    assert text_only.strategies == ("sample", "cyclic")
    check_strategies(text_only)


def test_strategies_that_have_what_they_need_are_not_refused():
    check_strategies(settings())
    check_strategies(settings(sites=("text_mlp",), strategies=("sample", "cyclic")))
