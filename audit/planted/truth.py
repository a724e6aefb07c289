"""Measure what a planted model memorized: the probability that a sample of a caption replicates its training image.

The probability is per seed, `p`: of so many seeds, so many replicate the image, with the exact interval of that rate.
A label is a threshold on it: memorized is p >= 1/2.
"""

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
from flashbulb.reports.bounds.rates import exact_interval
from flashbulb.reports.tables.files import atomic_write
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

logger = logging.getLogger(__name__)

N_SEEDS_SEEN = 2
NUM_INFERENCE_STEPS, GUIDANCE_SCALE = 25, 3.0
RUN_SEED = 20_000  # never the seed of an audit
MEMORIZED_P = 1 / 2
_BATCH = 48


def label_of(n_replicating: int, n_seeds: int) -> str:
    """Label a caption memorized if its p is at least 1/2, not if it is 0, else partial."""
    if n_replicating == 0:
        return "not"
    return "memorized" if n_replicating >= MEMORIZED_P * n_seeds else "partial"


def probability_columns(n_replicating: int, n_seeds: int) -> dict[str, Any]:
    """Return the columns that describe a count of replicating seeds, by name."""
    low, high = exact_interval(n_replicating, n_seeds)
    return {
        "n_seeds": n_seeds,
        "n_replicating": n_replicating,
        "p": n_replicating / n_seeds,
        "p_low": low,
        "p_high": high,
        "label": label_of(n_replicating, n_seeds),
    }


def measure_truth(pipe: Any, collection: Collection, path: Path, n_seeds: int) -> pd.DataFrame:
    """Sample every caption that has a training image, and write truth.parquet.

    Columns: prompt, kind, picture, n_seeds, n_replicating, p with its exact 95 % interval p_low and p_high, label, and
    distances (a list, one per seed, in [0, 1]).

    Args:
        n_seeds: seeds of a planted caption; ordinary training captions get two.
    """
    planted = [(e, i) for e in collection.with_kind(*PLANTED_KINDS) for i in range(n_seeds)]
    seen = [(e, i) for e in collection.with_kind("seen") for i in range(N_SEEDS_SEEN)]
    rows = []
    for entry, distances in _measure_distances(pipe, [*planted, *seen], collection).items():
        n_replicating = sum(d <= REPLICATION_DISTANCE for d in distances)
        named = {"prompt": entry.prompt, "kind": entry.kind, "picture": entry.image}
        rows.append({**named, **probability_columns(n_replicating, len(distances)), "distances": distances})
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
