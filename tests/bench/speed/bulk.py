"""What a prompt costs in the bulk and in the dense layout, and whether detection finds the same."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from flashbulb.audit.planted.paths import FOLDER, MODEL
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_detect, run_record
from tests.bench.speed.growth import write_prompts

LAYOUTS = ("dense", "bulk")
SCORES = ("spike_score", "p_value", "q_value", "flagged")


class Recorded(NamedTuple):
    """A set in one layout: bytes and CPU milliseconds a prompt, CPU seconds of detection, and flags."""

    layout: str
    seeds: int
    prompts: int
    bytes_a_prompt: float
    record_cpu_ms: float
    detect_cpu_s: float
    flagged: int
    largest_apart: float
    largest_z_difference: float


def measure_bulk(work: Path, n: int, n_seeds: int) -> Iterator[Recorded]:
    """Record the same prompts in both layouts, with the planted captions among them, by the reference alone.

    The cost of a prompt is that of the second half of the set, which is recorded after the first.
    """
    captions = pd.read_csv(FOLDER / "captions.csv")
    titles = pd.read_csv(write_prompts(work / "titles.csv", n))["prompt"]
    column = next(name for name in ("prompt", "caption", "text") if name in captions)
    texts = pd.concat([captions[column], titles], ignore_index=True).drop_duplicates()[:n]
    runs = {}
    for layout in LAYOUTS:
        seconds, runs[layout] = {}, work / f"{layout}-{n}"
        for size in (n // 2, n):
            run = work / f"{layout}-{size}"
            texts[:size].to_frame("prompt").to_csv(work / f"{size}.csv", index=False)
            settings = AuditSettings(
                model=str(MODEL),
                prompts=str(work / f"{size}.csv"),
                reference=str(FOLDER / "reference.csv"),
                train_images=None,
                out=run,
                n_seeds=n_seeds,
                layout=layout,
                max_style_shift=1.0,
                examine=False,
                device="cpu",
            )
            seconds[size] = _cpu_seconds(lambda settings=settings: run_record(settings, force=False))
        detecting = _cpu_seconds(lambda: run_detect(runs[layout], {}))  # noqa: B023
        stored = [file.stat().st_size for file in (runs[layout] / "activations" / "candidates").rglob("part-*")]
        scores = pd.read_parquet(runs[layout] / "scores.parquet")
        prompt_ms = 1000 * (seconds[n] - seconds[n // 2]) / (n - n // 2)
        differences = _differences(*(runs[name] for name in LAYOUTS[: len(runs)]))
        flagged = int(scores["flagged"].sum())
        yield Recorded(layout, n_seeds, n, sum(stored) / n, prompt_ms, detecting, flagged, *differences)


def _cpu_seconds(run) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _differences(first: Path, second: Path | None = None) -> tuple[float, float]:
    """Return the largest differences of scores, p-values and flags, and of z relative to its size."""
    if second is None:
        return 0.0, 0.0
    scores, others = (pd.read_parquet(run / "scores.parquet") for run in (first, second))
    apart = max(float(np.abs(scores[name].astype(float) - others[name].astype(float)).max()) for name in SCORES)
    spikes, same = (pd.read_parquet(run / "spikes.parquet") for run in (first, second))
    if not (spikes[["prompt_id", "site", "neuron"]] == same[["prompt_id", "site", "neuron"]]).all(axis=None):
        logging.getLogger(__name__).warning("other neurons are listed, or in another order")
    return apart, float((np.abs(spikes["z"] - same["z"]) / np.abs(spikes["z"])).max())
