"""New captions and images for the embedded model to be fine-tuned on, and the order in which they are shown."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flashbulb.audit.planted.captions import draw_unique_
from flashbulb.audit.planted.collection import WORLDS, Collection, Entry
from flashbulb.audit.planted.paths import CAPTIONS, REFERENCE
from flashbulb.audit.planted.presets import POSTERS

N_DUPLICATED, N_RARE, N_OTHER = 48, 60, 200
RAREST = 1 / 10  # views of the least duplicated pair, in those of the most duplicated one
RARE_VIEWS = 3


def new_pairs(seed: int) -> Collection:
    """Draw titles and images that the embedded model has never seen: duplicated at graded rates, rare, and other ones.

    No seed draws a title of another one.
    """
    world = WORLDS[POSTERS.world]
    taken = {str(prompt) for path in (CAPTIONS, REFERENCE) for prompt in pd.read_csv(path)["prompt"]}
    for other in range(seed + 1):
        rng = np.random.default_rng([other, 31])
        titles = draw_unique_(world.title, N_DUPLICATED + N_RARE + N_OTHER, rng, taken)
    images = {f"new-{i:03d}": world.titled_image(rng, POSTERS.picture_size) for i in range(len(titles))}
    kinds = ["planted_title"] * N_DUPLICATED + ["seen"] * N_RARE + ["other"] * N_OTHER
    weights = [*np.geomspace(1, RAREST, N_DUPLICATED), *np.full(N_RARE, RARE_VIEWS), *np.zeros(N_OTHER)]
    entries = zip(titles, kinds, images, weights, strict=True)
    return Collection(tuple(Entry(t, k, i, float(w)) for t, k, i, w in entries), images, (), frozenset())


def schedule_of(
    collection: Collection, n_steps: int, batch: int, duplicated_share: float, seed: int
) -> list[list[int]]:
    """Return the pairs of each step: each rare one `RARE_VIEWS` times in all; duplicated ones by their rates; others.

    Args:
        duplicated_share: of the pairs of a step, rare ones apart.
    """
    rng = np.random.default_rng([seed, 33])
    steps: list[list[int]] = [[] for _ in range(n_steps)]
    for index in range(N_DUPLICATED, N_DUPLICATED + N_RARE):
        for step in rng.integers(n_steps, size=RARE_VIEWS):
            steps[int(step)].append(index)
    rates = np.array([entry.weight for entry in collection.entries[:N_DUPLICATED]])
    others = np.arange(N_DUPLICATED + N_RARE, len(collection.entries))
    for chosen in steps:
        n_left = max(batch - len(chosen), 0)
        n_duplicated = rng.binomial(n_left, duplicated_share)
        chosen += rng.choice(N_DUPLICATED, n_duplicated, p=rates / rates.sum()).tolist()
        chosen += rng.choice(others, n_left - n_duplicated).tolist()
    return steps
