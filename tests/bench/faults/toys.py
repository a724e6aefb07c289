"""Small inputs that all sections share: models of random weights, prompts, training images and finished work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from PIL import Image

from flashbulb.hooks import save_neurons
from tests.audit.cli.ablations import NEURONS
from tests.audit.commands import CANDIDATES, ODD, REFERENCE, text_file
from tests.audit.searches import build_worded_pipe
from tests.bench.faults.injection import Plan
from tests.bench.faults.runs import Ended, run
from tests.toy import build_toy_pipe

RECORDING = ("--seeds", 2, "--shard-size", 4)
SAMPLING = ("--samples", 2, "--sample-steps", 2)
ASCENTS = ("--ascend-steps", 1, "--ascend-restarts", 2, "--max-sampled", 1)
STRATEGIES = ("--strategy", "sample", "--strategy", "ascend", "--strategy", "cyclic")


class Toys(NamedTuple):
    """Where the inputs lie; commands change none of them."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def searched(self) -> Path:
        """A model whose tokenizer knows words."""
        return self.folder / "searched"

    @property
    def neurons(self) -> Path:
        return self.folder / "neurons.json"

    @property
    def training(self) -> Path:
        """Training images: the model's own sample for one prompt, and others."""
        return self.folder / "training"

    def recording(self, out: str = "run") -> tuple[object, ...]:
        inputs = ("--model", self.model, "--prompts", self.folder / "prompts.txt")
        return (*inputs, "--reference", self.folder / "reference.txt", "--out", out, *RECORDING)

    def recovery(self) -> tuple[object, ...]:
        return (*SAMPLING, *ASCENTS, *STRATEGIES, "--train-images", self.training)

    def state(self, name: str) -> Path:
        """The folder that a command of an earlier stage left."""
        return self.folder / "states" / name


def build_toys(folder: Path) -> Toys:
    """Build all inputs, unless they are there."""
    toys = Toys(folder)
    if (folder / "done").exists():
        return toys
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    build_toy_pipe().save_pretrained(toys.model)
    build_worded_pipe().save_pretrained(toys.searched)
    save_neurons(toys.neurons, NEURONS)
    text_file(folder / "prompts.txt", CANDIDATES)
    text_file(folder / "reference.txt", REFERENCE)
    _make_training_images(toys)
    _reach(toys, "recorded", None, ("record", *toys.recording()))
    _reach(toys, "detected", "recorded", ("detect", "run", "--fpr", 0.2))
    _reach(toys, "audited", "detected", ("recover", "run", *toys.recovery()))
    _reach(toys, "half", None, ("record", *toys.recording(), "--shard", "1/2"))
    _reach(toys, "parts", "half", ("record", *toys.recording(), "--shard", "2/2"))
    (folder / "done").touch()
    return toys


def _make_training_images(toys: Toys) -> None:
    """Let the model's own sample be a training image, so that an audit confirms it."""
    toys.training.mkdir()
    for number in range(3):
        Image.effect_noise((16, 16), 90 - number).convert("RGB").save(toys.training / f"other-{number}.png")
    _reach(
        toys, "sampled", None, ("audit", *toys.recording(), "--fpr", 0.2, *SAMPLING, *ASCENTS, "--strategy", "sample")
    )
    before = toys.state("sampled") / "run"
    ids = {row["prompt"]: row["prompt_id"] for row in pq.read_table(before / "scores.parquet").to_pylist()}
    shutil.copy(before / "images" / ids[ODD] / "seed-1.png", toys.training / "secret.png")


def _reach(toys: Toys, name: str, before: str | None, arguments: tuple[object, ...]) -> Ended:
    """Make a state by a command from the state before it."""
    folder = toys.state(name)
    if before is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(toys.state(before), folder)
    ended = run(Plan(str(folder)), arguments)
    assert ended.code == 0, ended
    return ended
