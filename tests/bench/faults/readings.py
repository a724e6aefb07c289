"""Four planted models whose schedulers declare the right prediction type, and each of the wrong ones.

With a wrong one an audit exits 3 and names the one that fits; with the right one it finds a memorized image and fails
the gate. The right audits are cut short: a few memorized captions among clean ones, compared with the training images.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from tests.audit.model.loading.folders import CONFIGS, edit_config, linked_copy
from tests.bench.faults.injection import Plan
from tests.bench.faults.runs import Ended, run
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial
from tests.bench.models import MODELS

READINGS = ("epsilon", "v_prediction", "sample")
N_MEMORIZED, N_CLEAN, N_REFERENCE = 4, 12, 60
SHORT = ("--seeds", 2, "--samples", 4, "--strategy", "sample", "--detectors", "none", "--fpr", 0.05)


def try_readings(
    toys: Toys, work: Path, seed: int, names: Sequence[str] = tuple(MODELS), options: Sequence[object] = SHORT
) -> Iterator[Trial]:
    """Audit each planted model as it is, and read in the two other ways."""
    for name in names:
        planted = MODELS[name]
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        inputs = (*_prompts(planted, folder), "--train-images", planted / "pictures")
        right = _declared(planted)
        for reading in READINGS:
            model = linked_copy(planted / "model", folder / reading)
            edit_config("scheduler", model, prediction_type=reading)
            for command in (("validate",), ("audit", "--gate", *options, "--out", f"run-{reading}")):
                ended = run(Plan(str(folder)), (*command, "--model", model, *inputs), examined=True)
                yield _trial(name, right, reading, command[0], ended)


def _declared(planted: Path) -> str:
    """Return what the model was trained to predict, as its folder says."""
    saved = planted / "model" / "scheduler" / CONFIGS["scheduler"]
    declared: str = json.loads(saved.read_text(encoding="utf-8"))["prediction_type"]
    return declared


def _prompts(planted: Path, folder: Path) -> tuple[object, ...]:
    """Write a few memorized captions among clean ones, and a few reference captions."""
    truth = pd.read_parquet(planted / "truth.parquet")
    memorized = truth.loc[truth["label"] == "memorized", "prompt"].head(N_MEMORIZED)
    captions = pd.read_csv(planted / "captions.csv")
    clean = captions.loc[captions["kind"].isin(["unseen", "descriptive"]), "prompt"].head(N_CLEAN)
    reference = pd.read_csv(planted / "reference.csv")["prompt"].head(N_REFERENCE)
    paths = {"--prompts": [*memorized, *clean], "--reference": list(reference)}
    options: list[object] = []
    for option, texts in paths.items():
        path = folder / f"{option[2:]}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["prompt"], *([text] for text in texts)])
        options += [option, path]
    return tuple(options)


def _trial(name: str, right: str, reading: str, command: str, ended: Ended) -> Trial:
    line = " ".join(ended.lines)
    if reading == right:
        expected = 1 if command == "audit" else 0
        problem = None if ended.code == expected else f"exit code {ended.code}, expected {expected}: {line}"
    else:
        named = f"it looks like {right}" in line
        problem = None if ended.code == 3 and named and len(ended.lines) == 1 else f"exit code {ended.code}: {line}"
    words = f"read as {reading}" + (", as trained" if reading == right else f", trained on {right}")
    outcome = "1: it leaks; validate 0" if reading == right else "3, naming the reading that fits"
    observed = f"{command} {ended.code}: {line[:200]}"
    return Trial("readings", f"{name} {words}", command, outcome, observed, problem, command)
