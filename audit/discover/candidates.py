"""Single samples that may show a memory, although the samples of their start do not agree, and how much each promises.

A sample promises more the nearer it lies to another sample of its start, and to what other starts show: starts meet at
memories. Samples are compared at 32 by 32 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, RgbImages, cross_distances
from flashbulb.audit.images.reduced import reduce_images

Place = tuple[int, int]
"""Round and start."""

_BLOCK = 256  # images compared with all glimpses at once


class ChosenSample(NamedTuple):
    """A sample of a start of a round."""

    start: int
    sample: int


def doubts(images: RgbImages, places: Sequence[Place], glimpses: Mapping[Place, RgbImages]) -> npt.NDArray[np.float64]:
    """Return how little each image promises: its distance to the rest of its start times that to other starts.

    Args:
        images: samples, reduced, [image, row, column, 3].
        places: where each was sampled.
        glimpses: all samples of each start, reduced, [sample, row, column, 3].
    """
    owners = np.array([place for place, samples in glimpses.items() for _ in samples])
    everything = np.concatenate(list(glimpses.values()))
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(images), _BLOCK)]
    return np.concatenate([_doubts(images[rows], np.array(places[rows]), everything, owners) for rows in blocks])


def _doubts(
    images: RgbImages, places: npt.NDArray[np.int64], glimpses: RgbImages, owners: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    distances = cross_distances(images, glimpses)
    is_own = (owners[None] == places[:, None]).all(axis=2)  # [image, glimpse]
    own = np.sort(np.where(is_own, distances, 1.0), axis=1)[:, 1]  # the nearest is the image itself
    return np.asarray(own * np.where(is_own, 1.0, distances).min(axis=1), dtype=np.float64)


def choose_samples(
    number: int, known: Sequence[RgbImage], glimpses: Mapping[Place, RgbImages], n: int
) -> list[ChosenSample]:
    """Choose at most `n` samples of a round, none near another or what is known, the most promising first.

    Args:
        number: of the round.
        known: images that are kept already.
        glimpses: of this round and those before, see `doubts`.
    """
    starts = [start for round_number, start in glimpses if round_number == number]
    chosen_from = [ChosenSample(start, i) for start in starts for i in range(len(glimpses[number, start]))]
    if not chosen_from or n == 0:
        return []
    images = np.concatenate([glimpses[number, start] for start in starts])
    doubt = doubts(images, [(number, place.start) for place in chosen_from], glimpses)
    return [chosen_from[i] for i in choose_apart(images, doubt, known, n)]


def choose_apart(reduced: RgbImages, doubt: npt.NDArray[np.float64], known: Sequence[RgbImage], n: int) -> list[int]:
    """Choose at most `n` images, none near another or what is known, the lowest doubt first.

    Args:
        reduced: images, reduced, [image, row, column, 3].
        doubt: how little each promises, [image].
        known: images that are kept already, of any size.
    """
    is_new = np.ones(len(reduced), dtype=np.bool_)
    if known:
        is_new = cross_distances(reduced, reduce_images(known)).min(axis=1) > AGREEMENT_DISTANCE
    chosen: list[int] = []
    for i in [i for i in np.argsort(doubt, kind="stable").tolist() if is_new[i]]:
        if len(chosen) == n:
            break
        if not chosen or (cross_distances(reduced[i][None], reduced[chosen]) > AGREEMENT_DISTANCE).all():
            chosen.append(i)
    return chosen
