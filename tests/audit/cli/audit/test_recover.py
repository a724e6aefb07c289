"""An audit tries every strategy on what it flags, records every attempt, and repeats none of them."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open

from flashbulb.audit.settings import AuditSettings, SettingsError
from flashbulb.audit.settings.checks import check_strategies
from tests.audit.commands import CANDIDATES, ODD, digests, run_flashbulb, run_json, scores_of
from tests.audit.counting import counted_latents, counted_matches

FEW = ("--ascend-steps", "1", "--ascend-restarts", "2", "--max-sampled", "1", "--detectors", "none", "--samples", "2")


FOR_EMPTY_PROMPT = 2  # seeds, which a recorder evaluates before it looks for finished work


class Recovered(NamedTuple):
    """An audit of all attempts: its run, the options, and the latents that its UNet saw."""

    run: Path
    options: tuple[object, ...]
    n_latents: int


@pytest.fixture(scope="module")
def recovered(inputs, tmp_path_factory) -> Recovered:
    """Read-only."""
    folder = tmp_path_factory.mktemp("ladder")
    (folder / "training").mkdir()
    Image.effect_noise((16, 16), 90).convert("RGB").save(folder / "training" / "other.png")
    attempts = [part for strategy in ("sample", "ascend", "cyclic") for part in ("--strategy", strategy)]
    options = (*inputs.options(folder / "run"), *FEW, *attempts, "--train-images", folder / "training")
    with counted_latents() as count:
        answer = run_flashbulb("audit", *options)
    assert answer.code == 0, answer.err
    return Recovered(folder / "run", options, count.n_latents)


def test_recoveries_have_one_row_per_attempt_on_flagged_prompts_and_controls(recovered):
    recoveries = pd.read_parquet(recovered.run / "recoveries.parquet")
    prompts = scores_of(recovered.run).set_index("prompt_id")["prompt"]
    assert {prompts[i] for i in recoveries[~recoveries["is_control"]]["prompt_id"]} == {ODD}
    assert recoveries["prompt_id"].nunique() == 2
    ladder = ["sample-0", "ascend-0", "ascend-1", "cyclic-0"]
    tried = recoveries.assign(name=recoveries["strategy"] + "-" + recoveries["restart"].astype(str))
    shown = tried["name"][~tried["is_control"] & tried["verdict"].ne("not_shown")]
    reach = max(
        [0, *map(ladder.index, shown)]
    )  # of controls: the last attempt that showed an image of a flagged prompt
    for (_, is_control), attempts in tried.groupby(["prompt_id", "is_control"]):
        names, confirmed = attempts["name"].tolist(), attempts["verdict"].eq("confirmed").tolist()
        assert names == ladder[: len(names)]
        assert not any(confirmed[:-1])
        assert confirmed[-1] or names == (ladder[: reach + 1] if is_control else ladder)


def test_every_recovered_image_records_its_prompt_seed_and_settings(recovered):
    recoveries = pd.read_parquet(recovered.run / "recoveries.parquet")
    fingerprint = run_json(recovered.run)["model"]["fingerprint"]
    for row in recoveries.itertuples():
        with Image.open(recovered.run / row.image_path) as image:
            recorded = json.loads(image.text["flashbulb"])
        assert recorded["prompt"] in CANDIDATES
        assert (recorded["fingerprint"], recorded["run_seed"]) == (fingerprint, 0)
        if row.strategy == "sample":
            assert {"image_index", "num_inference_steps", "guidance_scale"} <= recorded.keys()
        else:
            assert (recorded["strategy"], recorded["restart"]) == (row.strategy, row.restart)
            assert {"sampling_n_samples", "sampling_num_inference_steps"} <= recorded.keys()
            settings_of_attempt = (
                {"n_steps", "learning_rate", "radius"} if row.strategy == "ascend" else {"n_cycles", "strength"}
            )
            assert settings_of_attempt <= recorded.keys()


def test_evaluations_count_the_unets_latents_and_two_per_backward_pass(recovered):
    recoveries, recorded = pd.read_parquet(recovered.run / "recoveries.parquet"), run_json(recovered.run)["evaluations"]
    assert recorded["recover"] == recoveries["evaluations"].sum()
    n_ascents = int(recoveries["strategy"].eq("ascend").sum())  # of one step each
    assert sum(recorded.values()) == recovered.n_latents + 2 * n_ascents


def test_rerun_recomputes_nothing(recovered):
    folders = ("images", "recovery", "matches")
    kept = {name: digest for name, digest in digests(recovered.run).items() if name.startswith(folders)}
    recoveries = pd.read_parquet(recovered.run / "recoveries.parquet")
    files = {path: path.stat().st_mtime_ns for name in kept for path in [recovered.run / name]}
    with counted_latents() as count, counted_matches() as matched:
        assert run_flashbulb("audit", *recovered.options).code == 0
    assert (count.n_latents, matched.n_samples) == (FOR_EMPTY_PROMPT, 0)
    assert any(name.startswith("matches") for name in kept)
    pd.testing.assert_frame_equal(pd.read_parquet(recovered.run / "recoveries.parquet"), recoveries, check_exact=True)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert any(name.endswith("ascend-1.safetensors") for name in kept)


def test_rerun_with_other_training_images_or_damaged_matches_matches_again(recovered, tmp_path):
    run, images = shutil.copytree(recovered.run, tmp_path / "run"), tmp_path / "images"
    n_samples = sum(len(json.loads(text)["matches"]) for text in map(_stated, run.glob("matches/*")))
    images.mkdir()
    Image.effect_noise((16, 16), 60).convert("RGB").save(images / "another.png")
    options = [run if option == recovered.run else option for option in recovered.options]
    given = options.index("--train-images") + 1

    def n_matched(source):
        with counted_matches() as matched:
            assert run_flashbulb("recover", run, "--train-images", source).code == 0
        return matched.n_samples

    assert n_matched(options[given]) == 0
    for path in run.glob("matches/*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert n_matched(options[given]) == n_samples
    assert n_matched(options[given]) == 0
    assert n_matched(images) == n_samples


def _stated(path):
    with safe_open(path, framework="np") as file:
        return file.metadata()["flashbulb"]


def test_deleted_image_is_restored_from_its_attempt(recovered, tmp_path):
    run = shutil.copytree(recovered.run, tmp_path / "run")
    lost = next(run.glob("images/*/ascend-0.png"))
    lost.unlink()
    options = [run if option == recovered.run else option for option in recovered.options]
    with counted_latents() as count:
        assert run_flashbulb("audit", *options).code == 0
    assert count.n_latents == FOR_EMPTY_PROMPT
    assert lost.is_file()


def settings(**changes):
    return AuditSettings(model="m", prompts="p", reference=None, train_images=None, out="o", **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strategies": ("ascend",)}, "every recovery starts with sample"),
        ({"strategies": ("sample", "known_image")}, "give --train-images"),
        ({"sites": ("text_mlp",), "strategies": ("sample", "ascend")}, "add --sites feed_forward, or leave ascend out"),
        (
            {"sites": ("feed_forward",), "ascend_kind": "cross_out", "strategies": ("sample", "ascend")},
            "add --sites cross_out",
        ),
    ],
)
def test_strategy_without_its_prerequisites_is_refused(changes, reason):
    with pytest.raises(SettingsError, match=reason):
        check_strategies(settings(**changes))


def test_default_strategies_leave_out_ascents_without_recorded_sites_to_climb():
    assert settings().strategies == ("sample", "ascend", "cyclic")
    text_only = settings(sites=("text_mlp",))
    assert text_only.strategies == ("sample", "cyclic")
    check_strategies(text_only)


def test_strategies_with_their_prerequisites_are_accepted():
    check_strategies(settings())
    check_strategies(settings(sites=("text_mlp",), strategies=("sample", "cyclic")))
