"""Images that come back in a run: at several seeds of a prompt, or with prompts that describe something else.

That all seeds of a prompt agree is judged by its signs (`signs.py`). A memory that comes at some seeds only shows in
another way: two samples are alike although the seed differs, or the prompt. Plain colours and regular patterns do not
count, nor do prompts that share half of their words, which may describe the same thing. Samples are compared reduced to
32 by 32 pixels. Controls, compared with one another, set the null (`reports/bounds/recurrence.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, N_TILES, RgbImages
from flashbulb.audit.images.self_similarity import shift_distance
from flashbulb.audit.recover.signs import MIN_SHIFT_DISTANCE

MAX_SHARED_WORDS = 0.5
"""Prompts describe something else if they share less than this of all their words."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """An image that comes back.

    Args:
        sample: index of the sample that shows it.
        n_seeds: other samples of the prompt that show it.
        n_prompts: prompts that describe something else and show it.
    """

    sample: int
    n_seeds: int
    n_prompts: int


def find_recurrences(prompts: Sequence[str], samples: Sequence[RgbImages]) -> list[list[Recurrence]]:
    """Find the distinct images that come back, for each prompt, those that come back most often first.

    Args:
        prompts: all of one kind, flagged or controls.
        samples: reduced samples of each prompt, [seed, 32, 32, 3].
    """
    if not prompts:
        return []
    owner = np.repeat(np.arange(len(prompts)), [len(images) for images in samples])
    tiles = [_tiles(images) for images in samples]
    everything = np.concatenate(tiles, axis=1)
    words = [frozenset(prompt.lower().split()) for prompt in prompts]
    found = []
    for position, images in enumerate(samples):
        alike = _distances(tiles[position], everything) <= AGREEMENT_DISTANCE  # [sample, sample of the run]
        others = [i for i, _ in enumerate(prompts) if i != position and not _share_words(words[i], words[position])]
        found.append(_distinct(images, alike, owner == position, owner, others))
    return found


def _distinct(
    images: RgbImages,
    alike: npt.NDArray[np.bool_],
    is_own: npt.NDArray[np.bool_],
    owner: npt.NDArray[np.int64],
    others: Sequence[int],
) -> list[Recurrence]:
    """Return the distinct images of a prompt that come back; of samples that are alike, the one with most others."""
    own = alike[:, is_own]
    recurring = [
        Recurrence(sample, int(own[sample].sum()) - 1, int(np.isin(others, owner[alike[sample]]).sum()))
        for sample in range(len(images))
    ]
    kept: list[Recurrence] = []
    for found in sorted(recurring, key=lambda found: -(found.n_seeds + found.n_prompts)):
        is_new = not any(own[found.sample, other.sample] for other in kept)
        if found.n_seeds + found.n_prompts and is_new and shift_distance(images[found.sample]) >= MIN_SHIFT_DISTANCE:
            kept.append(found)
    return kept


def _share_words(words: frozenset[str], others: frozenset[str]) -> bool:
    return len(words & others) >= MAX_SHARED_WORDS * len(words | others)


def _tiles(images: RgbImages) -> npt.NDArray[np.float32]:
    """Cut images into tiles: [image, height, width, 3] -> [tile, image, value]."""
    values = images.astype(np.float32) / 255
    rows = np.split(values, N_TILES, axis=1)
    tiles = [tile for row in rows for tile in np.split(row, N_TILES, axis=2)]
    return np.stack(tiles).reshape(len(tiles), len(images), -1).astype(np.float32)


def _distances(tiles: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the tile distance between each two images, as `tile_distances` does: [image, other image]."""
    products = tiles @ others.transpose(0, 2, 1)
    squares = np.square(tiles).sum(axis=2)[:, :, None] + np.square(others).sum(axis=2)[:, None, :]
    mean = (squares - 2 * products) / tiles.shape[2]
    return np.asarray(np.sqrt(np.maximum(mean.max(axis=0), 0)), dtype=np.float32)
