"""Whether clean captions with the highest difference recall a training image that is not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from flashbulb.audit.additions.chosen import load_chosen
from flashbulb.audit.images.distances import tile_distances
from flashbulb.audit.model.sampling import sample_images
from flashbulb.audit.planted.collection import Collection
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE
from tests.bench.finetune.runs import chosen_model

N_TOP, N_SEEDS, RUN_SEED = 13, 4, 777
"""One percent of the clean captions; their samples."""


class Recalls(NamedTuple):
    """Captions of which at least one sample replicates a new training image: highest, and in the middle."""

    highest: int
    middle: int


def count_recalls(folder: Path, collection: Collection, difference: pd.Series) -> Recalls:
    """Sample the clean captions of the highest difference and of the middle; `difference` is by caption."""
    ranked = difference.sort_values(ascending=False, kind="stable").index.tolist()
    middle = len(ranked) // 2
    prompts = [*ranked[:N_TOP], *ranked[middle : middle + N_TOP]]
    pipe = load_chosen(chosen_model(folder), "cpu", "float32").pipe
    recalled = [_recalls(pipe, prompt, collection) for prompt in prompts]
    return Recalls(sum(recalled[:N_TOP]), sum(recalled[N_TOP:]))


def _recalls(pipe: object, prompt: str, collection: Collection) -> bool:
    options = {"run_seed": RUN_SEED, "num_inference_steps": 25, "guidance_scale": 3.0}
    images = sample_images(pipe, [prompt] * N_SEEDS, list(range(N_SEEDS)), **options)
    distances = [np.min(tile_distances(np.stack(list(images)), image)) for image in collection.images.values()]
    return bool(min(distances) <= REPLICATION_DISTANCE)
