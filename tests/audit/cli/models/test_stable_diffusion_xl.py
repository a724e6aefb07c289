"""Stable Diffusion XL goes through every command: two text encoders are recorded, climbed, localized and searched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from flashbulb.audit.model.families import open_denoiser
from flashbulb.reports.tables.run_record import load_run
from tests.audit.cli.conftest import N_NEUTRAL
from tests.audit.commands import CANDIDATES, ODD, QUICK, REFERENCE, error_line, run_flashbulb, text_file
from tests.audit.searches import build_worded_tokenizer
from tests.toy import build_toy_xl_pipe
from tests.toy_variants import build_lcm_pipe, build_refiner_pipe

LOCALIZE = ("--samples", "2", "--sample-steps", "2", "--seeds", "1", "--points", "2", "--controls", "1")


def save_with_memory(pipe: StableDiffusionXLPipeline, folder: Path) -> None:
    """Save a pipeline, and as a training image what it samples for the odd prompt."""
    pipe.save_pretrained(folder / "model")
    (folder / "training").mkdir()
    call = {"run_seed": 0, "num_inference_steps": 2, "guidance_scale": 3.0}
    (image,) = open_denoiser(pipe).sample_prompts([ODD], [2], **call)
    Image.fromarray(image).save(folder / "training" / "secret.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline with its training image, and prompts. Read-only."""
    folder = tmp_path_factory.mktemp("xl")
    save_with_memory(build_toy_xl_pipe(), folder)
    text_file(folder / "candidates.txt", CANDIDATES)
    text_file(folder / "reference.txt", REFERENCE)
    return folder


def inputs(folder: Path) -> tuple[object, ...]:
    files = ("--prompts", folder / "candidates.txt", "--reference", folder / "reference.txt")
    return ("--model", folder / "model", *files, "--train-images", folder / "training")


@pytest.fixture(scope="module")
def audited(folder: Path, short_strategies: None) -> Path:
    """An audit with every detector and every strategy. Read-only."""
    ladder = [("--strategy", name) for name in ("sample", "ascend", "cyclic", "known_image")]
    quick = (
        *QUICK[:-2],
        "--samples",
        "3",
        "--max-sampled",
        "1",
        "--ascend-steps",
        "1",
        "--ascend-restarts",
        "1",
        "--detectors",
        "all",
    )
    answer = run_flashbulb("audit", *inputs(folder), *quick, *sum(ladder, ()), "--out", folder / "run")
    assert answer.code == 0, answer.err
    return folder / "run"


def test_sites_are_those_of_both_text_encoders_and_the_unet(folder: Path) -> None:
    found = json.loads(run_flashbulb("sites", folder / "model", "--json").out)
    assert (found["family"], found["not_offered"]) == ("Stable Diffusion XL", [])
    components = {site["name"].partition(".")[0] for site in found["sites"] if site["kind"] == "text_mlp"}
    assert components == {"text_encoder", "text_encoder_2"}
    assert len({site["kind"] for site in found["sites"]}) == 5


def test_every_detector_scores_and_every_strategy_tries(audited: Path, tmp_path: Path) -> None:
    assert load_run(audited).status == "complete"
    scores = pd.read_parquet(audited / "scores.parquet")
    detectors = json.loads(run_flashbulb("detectors", "--json").out)["detectors"]
    columns = [detector["name"] for detector in detectors]
    assert len(columns) > 10
    sampled = scores[scores["flagged"] & (scores["tier"] == 3)]
    assert sampled[columns].notna().all(axis=None)
    assert sampled["prompt"].tolist() == [ODD]
    assert (audited / "report.html").stat().st_size > 10_000
    run = shutil.copytree(audited, tmp_path / "run")
    (tmp_path / "others").mkdir()
    Image.effect_noise((16, 16), 100).convert("RGB").save(tmp_path / "others" / "noise.png")  # no sample copies it
    answer = run_flashbulb("recover", run, "--train-images", tmp_path / "others")
    assert answer.code == 0, answer.err
    tried = set(pd.read_parquet(run / "recoveries.parquet")["strategy"])
    assert tried == {"sample", "ascend", "cyclic", "known_image"}


def test_a_recovered_image_is_localized_and_its_neurons_ablated(folder: Path, audited: Path, tmp_path: Path) -> None:
    answer = run_flashbulb("localize", audited, *LOCALIZE)
    assert answer.code == 0, answer.err
    levers = pd.read_parquet(audited / "localization" / "levers.parquet")
    assert levers["prompt"].tolist() == [ODD]
    attributions = pd.read_parquet(audited / "localization" / "attributions.parquet")
    by_component = attributions.groupby(attributions["site"].str.partition(".")[0])["attribution"]
    assert set(by_component.groups) == {"text_encoder", "text_encoder_2", "unet"}
    assert (by_component.apply(lambda values: values.abs().max()) > 0).all()
    neurons = audited / "localization" / levers["neurons_path"][0]
    out = tmp_path / "ablated"
    answer = run_flashbulb(
        "ablate", folder / "model", "--neurons", neurons, "--prompt", ODD, *LOCALIZE[:4], "--out", out
    )
    assert answer.code == 0, answer.err
    assert (pd.read_parquet(out / "ablation.parquet")["tile_distance"] > 0).all()


def test_a_blind_search_climbs_both_text_encoders(short_searches: None, tmp_path: Path) -> None:
    pipe = build_toy_xl_pipe()
    tokenizer = build_worded_tokenizer()
    for name in ("text_encoder", "text_encoder_2"):
        encoder = getattr(pipe, name)
        encoder.resize_token_embeddings(len(tokenizer))
        encoder.config.eos_token_id = tokenizer.eos_token_id
        setattr(pipe, name.replace("text_encoder", "tokenizer"), tokenizer)
    pipe.save_pretrained(tmp_path / "model")
    budget = N_NEUTRAL + 2 * (3 + 3 * 15 + 6 + 2 + 12)
    options = ("--budget", budget, "--starts", 2, "--steps", 1, "--text-starts", 1, "--out", tmp_path / "found")
    answer = run_flashbulb("discover", tmp_path / "model", *options)
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "found" / "run.json").read_text())["status"] == "discovery"


def test_localization_of_a_model_that_is_never_guided_is_refused(folder: Path, tmp_path: Path) -> None:
    save_with_memory(build_lcm_pipe(), tmp_path)
    files = ("--prompts", folder / "candidates.txt", "--reference", folder / "reference.txt", *QUICK)
    own = ("--model", tmp_path / "model", "--train-images", tmp_path / "training", "--samples", 3, "--max-sampled", 1)
    assert run_flashbulb("audit", *files, *own, "--out", tmp_path / "run").code == 0
    line = error_line(run_flashbulb("localize", tmp_path / "run", *LOCALIZE))
    assert f"{tmp_path / 'model'} is distilled and never evaluates the empty prompt" in line


def test_a_refiner_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    build_refiner_pipe().save_pretrained(tmp_path / "model")
    line = error_line(run_flashbulb("audit", *inputs(folder), "--model", tmp_path / "model", "--out", tmp_path / "run"))
    assert "a refiner, which has one text encoder, only finishes images that another model began" in line
