"""`flashbulb compare` samples a base and a fine-tune alike, measures what changed, and shows it."""

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from flashbulb.audit.additions import chosen
from flashbulb.audit.images.distances import pairwise_distances, seed_agreement, tile_distances
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.settings import CompareSettings
from flashbulb.audit.stages import compare as stage
from tests.audit.cli.compare.conftest import HOSTILE, QUICK, Pair, rows
from tests.audit.commands import CANDIDATES, digests, edit_run_json, refused, run_flashbulb, run_json
from tests.audit.counting import counted_latents
from tests.audit.files.loras import load
from tests.toy import build_toy_pipe, build_toy_xl_pipe


def images(out: Path, side: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(out / row[f"image_path_{side}"])) for row in rows(out)])


def test_both_models_are_sampled_with_the_same_prompts_and_seeds(pair: Pair, done: Path) -> None:
    table = rows(done)
    assert [(row["prompt"], row["image_index"]) for row in table] == [
        (prompt, index) for prompt in (*CANDIDATES[:3], HOSTILE) for index in range(2)
    ]
    for side, model in (("base", pair.base), ("finetune", pair.finetune)):
        prompts, indices = zip(*((row["prompt"], row["image_index"]) for row in table), strict=True)
        plan = {"run_seed": 0, "num_inference_steps": 2, "guidance_scale": 3.0}
        assert np.array_equal(images(done, side), sample_images(load(model).pipe, prompts, indices, **plan))
    assert (images(done, "base") != images(done, "finetune")).any()


def test_numbers_are_computed_from_the_images(done: Path) -> None:
    table, base, finetune = rows(done), images(done, "base"), images(done, "finetune")
    for index, row in enumerate(table):
        assert row["tile_distance"] == pytest.approx(tile_distances(finetune[index : index + 1], base[index])[0])
        for side, sampled in (("base", base), ("finetune", finetune)):
            prompt_images = sampled[index // 2 * 2 : index // 2 * 2 + 2]
            assert row[f"seed_agreement_{side}"] == seed_agreement(prompt_images)
            assert row[f"seed_distance_{side}"] == pytest.approx(pairwise_distances(prompt_images)[0, 1])
            assert row[f"repeats_{side}"] == (row[f"seed_agreement_{side}"] == 1)
    assert [row["kind_finetune"] for row in table if row["prompt"] == CANDIDATES[2]][1] == "verbatim"
    assert {row["kind_base"] for row in table} == {None}


def test_a_lora_is_compared_with_its_base_in_one_loading(pair: Pair, done: Path, tmp_path: Path, monkeypatch) -> None:
    loads: list[str] = []

    def load_model(model: str, **options: Any) -> Any:
        loads.append(model)
        return loading(model, **options)

    loading = chosen.load_model
    monkeypatch.setattr(chosen, "load_model", load_model)
    common = ("--lora", pair.lora, "--prompts", pair.prompts, *QUICK)
    (tmp_path / "link").symlink_to(pair.base)
    for spelled in (pair.base, tmp_path / "link"):
        answer = run_flashbulb("compare", spelled, pair.base, *common, "--out", tmp_path / f"out-{spelled.name}")
        assert answer.code == 0, answer.err
    assert len(loads) == 2
    shutil.copytree(pair.base, tmp_path / "copy")
    assert run_flashbulb("compare", tmp_path / "copy", pair.base, *common, "--out", tmp_path / "apart").code == 0
    assert len(loads) == 2 + 3
    assert run_flashbulb("compare", pair.base, *common, "--out", tmp_path / "alone").code == 0
    for out in ("out-link", "apart", "alone"):
        assert rows(tmp_path / out) == rows(tmp_path / f"out-{pair.base.name}")
        for name in ("base", "model"):
            own = run_json(tmp_path / out)[name]["fingerprint"]
            assert own == run_json(tmp_path / f"out-{pair.base.name}")[name]["fingerprint"]
    for side in ("base", "finetune"):
        assert np.array_equal(images(tmp_path / "alone", side), images(done, side))


def test_a_rerun_samples_nothing_and_an_interrupted_comparison_is_resumed(
    pair: Pair, done: Path, tmp_path: Path
) -> None:
    options = pair.options(tmp_path / "out", "--train-images", pair.training, "--batch-size", "2")
    with counted_latents(stop_after=4 * 8 + 12):  # all of the fine-tune, and one prompt of the base
        assert "run the same command again to resume" in refused(*options, code=130)
    assert run_json(tmp_path / "out")["status"] == "comparing"
    assert not (tmp_path / "out" / "compare.html").exists()
    with counted_latents() as count:
        assert run_flashbulb(*options).code == 0
    assert count.n_latents == 3 * 8
    before = digests(tmp_path / "out")
    with counted_latents() as count:
        assert run_flashbulb(*options).code == 0
    assert count.n_latents == 0
    assert digests(tmp_path / "out") == before


def test_one_model_is_in_memory_at_a_time(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref[nn.Module]] = []
    held = []  # other models

    def open_denoiser(pipe: Any, *arguments: Any) -> Denoiser:
        gc.collect()
        held.append(len({id(unet) for reference in opened if (unet := reference()) not in (None, pipe.unet)}))
        opened.append(weakref.ref(pipe.unet))
        return opening(pipe, *arguments)

    opening = stage.open_denoiser
    monkeypatch.setattr(stage, "open_denoiser", open_denoiser)
    paths = {"base": str(pair.base), "finetune": str(pair.finetune), "prompts": str(pair.prompts)}
    quick = {"train_images": None, "n_samples": 2, "sample_steps": 2, "max_prompts": 1}
    stage.run_comparison(
        CompareSettings.model_validate({**paths, **quick, "out": tmp_path / "out", "examine": False}), force=False
    )
    assert held == [0, 0, 0, 0]  # the base to look at it, the fine-tune likewise and to sample it, the base


def test_prompts_beyond_the_limit_are_left_out_and_counted(pair: Pair, tmp_path: Path) -> None:
    answer = run_flashbulb(*pair.options(tmp_path / "out", "--max-prompts", "1", "--json"))
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert (document["status"], document["n_prompts"], document["n_left_out"]) == ("comparison", 1, 3)
    assert document["evaluations"] == {"base": 2 * 2 * 2, "finetune": 2 * 2 * 2}
    assert {row["prompt"] for row in rows(tmp_path / "out")} == {CANDIDATES[0]}
    assert "3 prompts beyond --max-prompts left out" in (tmp_path / "out" / "compare.html").read_text().lower()


def test_what_cannot_be_compared_is_refused_before_anything_is_written(pair: Pair, tmp_path: Path) -> None:
    build_toy_pipe(latent_size=16).save_pretrained(tmp_path / "large")
    build_toy_xl_pipe().save_pretrained(tmp_path / "xl")
    prompts, out = ("--prompts", pair.prompts), ("--out", tmp_path / "out", *QUICK)
    for models, said in {
        (pair.base, pair.base): "are the same model",
        (pair.base, tmp_path / "large"): "gives images of 16 × 16",
        (tmp_path / "xl", pair.base): "is Stable Diffusion XL",
        (pair.base,): "Give the fine-tune after it, or with --lora",
    }.items():
        assert said in refused("compare", *models, *prompts, *out)
    for both in ((), (*prompts, "--run", tmp_path)):
        assert "--prompts with a file, or --run" in refused("compare", pair.base, pair.finetune, *both, *out)
    assert not (tmp_path / "out").exists()


def test_another_comparison_is_not_overwritten_without_force(pair: Pair, done: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(done, tmp_path / "out"))
    options = pair.options(out, "--train-images", pair.training, "--seed", "7")
    assert "settings.seed was 0, now 7" in refused(*options)
    assert digests(out) == digests(done)
    edit_run_json(out, "status", value="comparing")
    assert run_flashbulb(*options, "--force").code == 0
    assert (images(out, "base") != images(done, "base")).any()
