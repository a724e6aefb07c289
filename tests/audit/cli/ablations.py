"""Run `flashbulb ablate` on a toy pipeline, and look at what it left."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from flashbulb.hooks import NeuronSet, save_neurons
from tests.audit.commands import Answer, run_flashbulb
from tests.hooks.edits import some_neurons
from tests.toy import build_toy_pipe

PROMPTS = ("a red star", "жар-птица $x$ |`")
QUICK = ("--samples", "3", "--sample-steps", "2")
NEURONS = some_neurons(build_toy_pipe(), ["feed_forward", "text_mlp"])


def neuron_file(path: Path, neurons: NeuronSet) -> Path:
    save_neurons(path, neurons)
    return path


def ablated(model: Path, neurons: Path, out: Path, *options: object, prompts: tuple[str, ...] = PROMPTS) -> Answer:
    chosen = [part for prompt in prompts for part in ("--prompt", prompt)]
    return run_flashbulb("ablate", model, "--neurons", neurons, *chosen, "--out", out, *QUICK, *options)


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "ablation.parquet").to_pylist()


def image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def images(out: Path, which: str) -> np.ndarray:
    return np.stack([image(out / row[f"{which}_path"]) for row in rows(out)])
