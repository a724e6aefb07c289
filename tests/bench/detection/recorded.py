"""A planted model recorded for benchmarks: labelled captions and reference, and any part of them as a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.record.sets import record_set
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.statistics.detection import RecordedSet
from flashbulb.hooks import Site

N_SEEDS = 8


class Part:
    """Some rows of a recorded set, held in memory; stands in for `Shards`."""

    def __init__(self, whole: Shards, rows: np.ndarray, cache: dict[Any, np.ndarray]) -> None:
        self._whole, self._rows, self._cache = whole, rows, cache

    def matrix(self, columns: Columns, limit: int | None = None) -> np.ndarray:
        key = tuple(columns.names)
        if key not in self._cache:
            self._cache[key] = self._whole.matrix(columns)
        return self._cache[key][self._rows][:limit]

    def matrices(self, columns: Columns) -> Iterator[np.ndarray]:
        yield self.matrix(columns)

    def detector_scores(self, detectors: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: values[self._rows] for name, values in self._whole.detector_scores(detectors).items()}


@dataclass(frozen=True)
class Planted:
    """Captions (prompt, kind, label) followed by reference prompts (kind `reference`), and their recording."""

    rows: pd.DataFrame
    sites: tuple[Site, ...]
    shards: Shards
    cache: dict[Any, np.ndarray]

    def part(self, chosen: np.ndarray) -> RecordedSet:
        """The rows of a mask or of indices as a recorded set."""
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return RecordedSet(self.rows["prompt"].iloc[rows].tolist(), Part(self.shards, rows, self.cache))

    @property
    def captions(self) -> np.ndarray:
        return (self.rows["kind"] != "reference").to_numpy()

    @property
    def memorized(self) -> np.ndarray:
        return (self.rows["label"] == "memorized").to_numpy()

    @property
    def negative(self) -> np.ndarray:
        """Captions that were never planted."""
        return self.captions & ~self.rows["kind"].str.startswith("planted").to_numpy()

    @property
    def titles_of_reference(self) -> np.ndarray:
        """The half of the reference that is titles; the other half is descriptions."""
        rows = np.flatnonzero(~self.captions)
        mask = np.zeros(len(self.rows), dtype=bool)
        mask[rows[: len(rows) // 2]] = True
        return mask


def labelled(folder: Path) -> pd.DataFrame:
    """Captions with kind and label (memorized, partial, not, clean), then the reference."""
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    truth = pd.read_parquet(folder / "truth.parquet")[["prompt", "label"]]
    rows = captions.merge(truth, on="prompt", how="left")[["prompt", "kind", "label"]]
    reference = pd.read_csv(folder / "reference.csv", keep_default_na=False)[["prompt"]].assign(kind="reference")
    return pd.concat([rows, reference], ignore_index=True).fillna({"label": "clean"})


def record_planted(
    folder: Path, work: Path, kinds: Sequence[str], n_seeds: int, num_inference_steps: int = 50
) -> Planted:
    """Record a planted model's captions and reference into `work`, or go on from what lies there."""
    rows = labelled(folder)
    model = load_model(str(folder / "model"), device="cpu", dtype=torch.float32, allow_pickle=False)
    denoiser = open_denoiser(model.pipe)
    sites = denoiser.sites(kinds)
    plan = Plan(0, n_seeds, denoiser.first_timestep(num_inference_steps), batch_size=32, shard_size=512)
    prompts = [Prompt(f"{i:016x}", text, "bench", i, 1) for i, text in enumerate(rows["prompt"])]
    with computing():
        recorded = record_set(Recorder(denoiser, sites, [], plan), prompts, work, {"fingerprint": repr(plan)}, "record")
    return Planted(rows, sites, Shards(work, recorded.n_shards, n_seeds), {})
