"""Inputs of a pull, and a finished one."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.audit.cli.conftest import PULL_SAMPLE_STEPS, PULL_STEPS
from tests.audit.commands import Answer, run_flashbulb
from tests.audit.conftest import Inputs

RANK, PULL = 8, PULL_STEPS * 3 + 6 * PULL_SAMPLE_STEPS * 2  # UE of an image
N_IMAGES, N_CONTROLS = 4, 3


class Given(NamedTuple):
    """A model, images to pull at, and controls. Read-only."""

    model: Path
    images: Path
    controls: Path

    def pull(self, out: Path, *options: object) -> Answer:
        """Pull with controls and without an examination, which refuses random weights."""
        given = (self.model, self.images, "--controls", self.controls, "--no-examine", "--out", out)
        return run_flashbulb("pull", *given, *options)


def save_images(folder: Path, seeds: Sequence[int]) -> Path:
    folder.mkdir()
    for seed in seeds:
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((4, 4, 1), dtype=np.uint8))).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def given(inputs: Inputs, short_pulls: None, tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("pull")
    images = save_images(folder / "images", range(N_IMAGES))
    return Given(inputs.model, images, save_images(folder / "controls", range(10, 10 + N_CONTROLS)))


class Pulled(NamedTuple):
    """A finished pull and what it printed. Read-only."""

    run: Path
    answer: Answer


@pytest.fixture(scope="module")
def pulled(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    run = tmp_path_factory.mktemp("pulled") / "run"
    answer = given.pull(run)
    assert answer.code == 0, answer.err
    return Pulled(run, answer)


def table_of(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "pull.parquet")
