"""Run `engram ablate` on a toy pipeline, and look at what it left."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from hooks import NeuronSet, save_neurons
from tests.audit.commands import Answer, engram
from tests.hooks.edits import some_neurons
from tests.toy import build_toy_pipe

PROMPTS = ("a red star", "жар-птица $x$ |`")
QUICK = ("--samples", "3", "--sample-steps", "2")
LEVERS = some_neurons(build_toy_pipe(), ["feed_forward", "text_mlp"])


def neuron_file(path: Path, neurons: NeuronSet) -> Path:
    save_neurons(path, neurons)
    return path


def ablated(model: Path, neurons: Path, out: Path, *options: object, prompts: tuple[str, ...] = PROMPTS) -> Answer:
    given = [part for prompt in prompts for part in ("--prompt", prompt)]
    return engram("ablate", model, "--neurons", neurons, *given, "--out", out, *QUICK, *options)


def refused(answer: Answer, code: int = 2) -> str:
    """The one line of error that a command ends with."""
    assert answer.code == code, answer
    assert len(answer.errors) == 1, answer.err
    assert answer.err.splitlines()[-1] == answer.errors[0]
    assert "Traceback" not in answer.err
    return answer.errors[0]


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "ablation.parquet").to_pylist()


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def pictures(out: Path, which: str) -> np.ndarray:
    return np.stack([picture(out / row[f"{which}_path"]) for row in rows(out)])
