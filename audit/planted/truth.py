"""Measure what a planted model memorized: distance of samples to the training picture, caption by caption."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.evidence import REPLICATION_DISTANCE, Pictures, tile_distances
from audit.planted.collection import PLANTED_KINDS, Collection, Entry
from audit.progress import track
from audit.sampling import sample_pictures

logger = logging.getLogger(__name__)

N_SEEDS, N_SEEDS_SEEN = 8, 2
NUM_INFERENCE_STEPS, GUIDANCE_SCALE = 25, 3.0
RUN_SEED = 20_000  # never the seed of an audit
_BATCH = 48


def label_of(n_replicating: int, n_seeds: int) -> str:
    """memorized: at least half of the seeds replicate the training picture; not: none does; partial: the rest."""
    if n_replicating == 0:
        return "not"
    return "memorized" if 2 * n_replicating >= n_seeds else "partial"


def measure_truth(pipe: Any, collection: Collection, path: Path) -> pd.DataFrame:
    """Sample every caption that has a training picture and write truth.parquet.

    Columns: prompt, kind, picture, n_seeds, n_replicating, label, distances (list, one a seed), in [0, 1].
    """
    planted = [(e, i) for e in collection.of_kind(*PLANTED_KINDS) for i in range(N_SEEDS)]
    seen = [(e, i) for e in collection.of_kind("seen") for i in range(N_SEEDS_SEEN)]
    distances = _distances(pipe, [*planted, *seen], collection)
    rows = []
    for entry, of_entry in distances.items():
        n_replicating = sum(d <= REPLICATION_DISTANCE for d in of_entry)
        rows.append(
            {
                "prompt": entry.prompt,
                "kind": entry.kind,
                "picture": entry.picture,
                "n_seeds": len(of_entry),
                "n_replicating": n_replicating,
                "label": label_of(n_replicating, len(of_entry)),
                "distances": of_entry,
            }
        )
    truth = pd.DataFrame(rows)
    part = path.with_suffix(".part")
    truth.to_parquet(part, index=False)
    os.replace(part, path)
    logger.info("truth: %s", truth.groupby(["kind", "label"]).size().to_dict())
    return truth


def _distances(pipe: Any, work: Sequence[tuple[Entry, int]], collection: Collection) -> dict[Entry, list[float]]:
    """Distance of each sample to its caption's training picture."""
    distances: dict[Entry, list[float]] = {}
    with track("measuring truth", len(work), "pictures") as advance:
        for start in range(0, len(work), _BATCH):
            chunk = work[start : start + _BATCH]
            sampled: Pictures = sample_pictures(
                pipe,
                [entry.prompt for entry, _ in chunk],
                [index for _, index in chunk],
                run_seed=RUN_SEED,
                num_inference_steps=NUM_INFERENCE_STEPS,
                guidance_scale=GUIDANCE_SCALE,
            )
            for (entry, _), picture in zip(chunk, sampled, strict=True):
                target = collection.pictures[entry.picture]
                distances.setdefault(entry, []).append(float(tile_distances(np.stack([picture]), target)[0]))
            advance(len(chunk))
    return distances
