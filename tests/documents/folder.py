"""What the commands of the documents find: toy models, prompts, images, and earlier runs, by the names of the pages."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from flashbulb.audit.model.sampling import sample_images
from tests.audit.commands import CANDIDATES, ODD, REFERENCE, run_flashbulb, text_file
from tests.audit.files.loras import lora_file, lora_weights, some_factors
from tests.audit.plantings import data_set
from tests.audit.searches import build_worded_pipe
from tests.documents.blocks import Block
from tests.paths import ROOT
from tests.toy import TEXT_WIDTH, build_toy_pipe

QUICK = {
    "SEEDS": "2",
    "SAMPLES": "2",
    "SAMPLE_STEPS": "2",
    "FPR": "0.2",
    "STRATEGY": "sample",
    "REFERENCE_NUMBER": "12",
    "PLANT_NUMBER": "48",
    "DISCOVER_STARTS": "2",
    "DISCOVER_STEPS": "1",
    "DISCOVER_TEXT_STARTS": "1",
}
"""What a toy audit is given by environment variables where the page gives nothing."""
EARLIER = {
    "found": ("discover", "path/to/pipeline", "--budget", "480"),
    "pulled": ("pull", "path/to/pipeline", "images", "--controls", "never-trained", "--budget", "480"),
}
"""Runs that are replayed."""
ELIDED = ("--model", "path/to/pipeline", "--prompts", "captions.csv", "--reference", "clean.txt")
"""What `...` stands for."""


def write_folder(folder: Path, pipe: StableDiffusionPipeline) -> None:
    """Write everything that pages start from, with a finished audit that confirmed one image."""
    write_models(folder, pipe)
    write_inputs(folder, pipe)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        assert run_flashbulb("audit", *ELIDED, "--train-images", "images", "--out", "runs/mine").code == 0


def write_models(folder: Path, pipe: StableDiffusionPipeline) -> None:
    """Save pipelines of two weights, an autoencoder, and LoRAs."""
    models = folder / "path" / "to"
    trained = build_worded_pipe()
    trained.unet = build_toy_pipe(seed=1).unet
    for place in (models / "pipeline", models / "base", models / "folder", folder / "my-pipeline"):
        pipe.save_pretrained(place)
    for name in ("fine-tune", "retrained", "next-checkpoint"):
        trained.save_pretrained(models / name)
    pipe.vae.save_pretrained(models / "vae")
    for name in ("mine", "style", "person"):
        lora_file(folder / f"{name}.safetensors", lora_weights(some_factors(pipe, ("unet",))))
    for step in (500, 1000):
        checkpoint = folder / "out" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        shutil.copy(folder / "mine.safetensors", checkpoint / "pytorch_lora_weights.safetensors")
    save_file({"emb_params": torch.full((2, TEXT_WIDTH), 0.1)}, folder / "word.safetensors")


def write_inputs(folder: Path, pipe: StableDiffusionPipeline) -> None:
    """Write prompts, labels, images of which the model gives one back, a policy, and what only the user knows."""
    for name in ("captions.csv", "training.csv", "drawn.csv"):
        text_file(folder / name, ["prompt", *CANDIDATES])
    text_file(folder / "suspects.txt", CANDIDATES)
    text_file(folder / "clean.txt", REFERENCE)
    text_file(folder / "labels.csv", ["prompt,label", *(f"{prompt},{int(prompt == ODD)}" for prompt in CANDIDATES)])
    text_file(folder / "release.toml", ['model_name = "Postcards"'])
    for name in ("policy.toml", "waivers.toml"):
        shutil.copy(ROOT / "docs" / "ci" / name, folder / name)
    for name, seeds in (("images", range(2)), ("never-trained", range(10, 12))):
        (folder / name).mkdir()
        for seed in seeds:
            blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), dtype=np.uint8))).save(folder / name / f"{seed}.png")
    (image,) = sample_images(pipe, [ODD], [0], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
    Image.fromarray(image).save(folder / "images" / "secret.png")


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Go into a folder, with the environment of a quick audit."""
    patch.chdir(folder)
    for name, value in QUICK.items():
        patch.setenv(f"FLASHBULB_{name}", value)


def prepare_page(blocks: Sequence[Block], folder: Path) -> None:
    """Put into a fresh folder what a page starts from: runs of every name, but not what its commands write."""
    text = "".join(block.text for block in blocks)
    for name in ("new", "old"):
        if f"runs/{name}" in text:
            shutil.copytree(folder / "runs" / "mine", folder / "runs" / name)
    if "runs/old" in text:  # finished again at another time: a copy of the run is no baseline
        assert run_flashbulb("recover", "runs/old").code == 0
    for name, words in EARLIER.items():
        if f"--replay runs/{name}" in text:
            assert run_flashbulb(*words, "--out", f"runs/{name}").code == 0
    if re.search(r"flashbulb (plant|reference) captions.csv", text):  # what joins captions needs more of them
        shutil.rmtree(folder / "images")
        table = pd.read_json(data_set(folder / "images") / "metadata.jsonl", lines=True)
        for name in ("captions.csv", "training.csv"):
            pd.DataFrame({"prompt": [*CANDIDATES, *table["text"]]}).to_csv(folder / name, index=False)
    for written in re.findall(r"(?:--out |out=(?:Path\()?\")([\w/.-]+)", text):
        path = folder / written
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
