"""A finished audit with two findings, and its localization."""

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.sampling import sample_images
from tests.audit.commands import ODD, Answer, run_flashbulb
from tests.audit.counting import counted_latents

OTHER = "жар-птица"
QUICK = ("--samples", "2", "--sample-steps", "2", "--seeds", "1", "--points", "2", "--controls", "1", "--no-again")


class Audited(NamedTuple):
    """A localized audit with two findings, and the output of `flashbulb localize`. Read-only."""

    run: Path
    model: Path
    answer: Answer
    n_latents: int


def id_of(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def localize(run: Path, *options: object) -> Answer:
    return run_flashbulb("localize", run, *QUICK, *options)


@pytest.fixture(scope="session")
def audited(inputs, tmp_path_factory) -> Audited:
    """The image of seed 2 is a training image for two prompts, and seed 2 is the first that neurons are tested with."""
    folder = tmp_path_factory.mktemp("localized")
    (folder / "training").mkdir()
    model = shutil.copytree(inputs.model, folder / "model")
    pipe = load_model(str(model), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    for name, prompt in (("one", ODD), ("two", OTHER)):
        (image,) = sample_images(pipe, [prompt], [2], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
        Image.fromarray(image).save(folder / "training" / f"{name}.png")
    options = inputs._replace(model=model).options(folder / "run")
    more = ("--samples", "3", "--train-images", folder / "training", "--detectors", "none")
    assert run_flashbulb("audit", *options, *more).code == 0
    with counted_latents() as count:
        answer = localize(folder / "run")
    assert answer.code == 0, answer.err
    return Audited(folder / "run", model, answer, count.n_latents)


@pytest.fixture
def copied(audited, tmp_path) -> Path:
    """A copy of the localized run that a test may change."""
    return Path(shutil.copytree(audited.run, tmp_path / "run"))


def rows(run: Path, name: str = "levers"):
    return pq.read_table(run / "localization" / f"{name}.parquet").to_pylist()
