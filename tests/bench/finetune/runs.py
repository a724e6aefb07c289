"""Record every caption on each fine-tune and on its base, by the stages of an audit; the base is recorded once."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flashbulb.audit.additions.chosen import ChosenModel
from flashbulb.audit.planted.paths import CAPTIONS, MODEL, REFERENCE
from flashbulb.audit.run.directory import RECORDING
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import open_session, run_detect
from flashbulb.audit.stages.claim import claim
from flashbulb.audit.stages.kept.identity import recording_identity
from flashbulb.audit.stages.opening.session import open_base
from flashbulb.audit.stages.record import finish_recording, record_base, record_prompts
from tests.bench.finetune.pairs import new_pairs

NEGATIVE_KINDS = ("unseen", "descriptive", "rare_word", "long", "other_alphabet", "gibberish")
"""Captions of captions.csv that no training of the embedded model has seen."""


def write_prompts(path: Path, seeds: Sequence[int]) -> None:
    """Write one prompt file for all models, so that the base is recorded once: captions of the base and of all seeds.

    To a fine-tune of one seed, the captions of the other seeds are unseen titles.
    """
    old = pd.read_csv(CAPTIONS)
    prompts = [entry.prompt for seed in seeds for entry in new_pairs(seed).entries]
    prompts += old.loc[old["kind"] != "seen", "prompt"].tolist()
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])


def chosen_model(folder: Path) -> ChosenModel:
    """Return the fine-tune that lies in `folder`."""
    lora = folder / "lora.safetensors"
    return ChosenModel(str(MODEL), lora=(str(lora),)) if lora.exists() else ChosenModel(str(folder / "model"))


def record(folder: Path, prompts: Path, recorded: Path | None) -> None:
    """Record a fine-tune and its base into `folder`/run, and score it; resumes.

    Args:
        recorded: another finished run, whose recording of the base is used.
    """
    run, chosen, watch = folder / "run", chosen_model(folder), Stopwatch()
    if (run / "scores.parquet").exists():
        return
    settings = AuditSettings(
        model=chosen.model,
        lora=chosen.lora,
        baseline_model=str(MODEL),
        prompts=str(prompts),
        reference=str(REFERENCE),
        out=run,
        train_images=None,
        detectors=("nemo",),
        examine=False,
    )
    session = open_session(settings)
    with claim(session.inputs, {RECORDING: recording_identity(session.inputs)}, force=False) as directory:
        result = record_prompts(session, directory, watch)
        donors = () if recorded is None else (recorded,)
        finish_recording(record_base(result, open_base(session), directory, watch, donors), directory)
    run_detect(run, {})
