"""Measure what a planted model memorized: the distances of each caption's samples to its training image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flashbulb.audit.images.distances import RgbImages, tile_distances
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.planted.collection import PLANTED_KINDS, Collection, Entry
from flashbulb.audit.run.progress import track
from flashbulb.reports.tables.files import atomic_write
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

logger = logging.getLogger(__name__)

N_SEEDS, N_SEEDS_SEEN = 8, 2
NUM_INFERENCE_STEPS, GUIDANCE_SCALE = 25, 3.0
RUN_SEED = 20_000  # never the seed of an audit
_BATCH = 48


def label_of(n_replicating: int, n_seeds: int) -> str:
    """Label a caption memorized if at least half of its seeds replicate the image, not if none does, else partial."""
    if n_replicating == 0:
        return "not"
    return "memorized" if 2 * n_replicating >= n_seeds else "partial"


def measure_truth(pipe: Any, collection: Collection, path: Path) -> pd.DataFrame:
    """Sample every caption that has a training image, and write truth.parquet.

    Columns: prompt, kind, picture, n_seeds, n_replicating, label, and distances (a list, one per seed, in [0, 1]).
    """
    planted = [(e, i) for e in collection.with_kind(*PLANTED_KINDS) for i in range(N_SEEDS)]
    seen = [(e, i) for e in collection.with_kind("seen") for i in range(N_SEEDS_SEEN)]
    distances = _measure_distances(pipe, [*planted, *seen], collection)
    rows = []
    for entry, entry_distances in distances.items():
        n_replicating = sum(d <= REPLICATION_DISTANCE for d in entry_distances)
        rows.append(
            {
                "prompt": entry.prompt,
                "kind": entry.kind,
                "picture": entry.image,
                "n_seeds": len(entry_distances),
                "n_replicating": n_replicating,
                "label": label_of(n_replicating, len(entry_distances)),
                "distances": entry_distances,
            }
        )
    truth = pd.DataFrame(rows)
    with atomic_write(path) as part:
        truth.to_parquet(part, index=False)
    logger.info("truth: %s", truth.groupby(["kind", "label"]).size().to_dict())
    return truth


def _measure_distances(
    pipe: Any, work: Sequence[tuple[Entry, int]], collection: Collection
) -> dict[Entry, list[float]]:
    """Measure the distance of each sample to the training image of its caption."""
    distances: dict[Entry, list[float]] = {}
    with track("measuring truth", len(work), "images") as advance:
        for start in range(0, len(work), _BATCH):
            chunk = work[start : start + _BATCH]
            sampled: RgbImages = sample_images(
                pipe,
                [entry.prompt for entry, _ in chunk],
                [index for _, index in chunk],
                run_seed=RUN_SEED,
                num_inference_steps=NUM_INFERENCE_STEPS,
                guidance_scale=GUIDANCE_SCALE,
            )
            for (entry, _), image in zip(chunk, sampled, strict=True):
                target = collection.images[entry.image]
                distances.setdefault(entry, []).append(float(tile_distances(np.stack([image]), target)[0]))
            advance(len(chunk))
    return distances
