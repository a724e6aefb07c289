"""Single samples of a round that may show a memory, although the samples of their start do not agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, RgbImages, tile_distances
from flashbulb.audit.images.reduced import reduce_images


class ChosenSample(NamedTuple):
    """A sample of a start."""

    start: int
    sample: int


def choose_samples(samples: Sequence[RgbImages], known: Sequence[RgbImage], n: int) -> list[ChosenSample]:
    """Choose at most `n` samples that differ from one another and from what is known, the most promising first.

    A sample promises more the nearer it lies to what another start shows: starts meet at memories. Images are compared
    at 32 by 32 pixels.

    Args:
        samples: of each start, [sample, height, width, 3].
        known: images that need no further look.
    """
    places = [ChosenSample(start, i) for start, of_start in enumerate(samples) for i in range(len(of_start))]
    if not places or n == 0:
        return []
    images = reduce_images(np.concatenate(list(samples)))
    start_of = np.array([place.start for place in places])
    distances = np.stack([tile_distances(images, image) for image in images])  # [sample, sample]
    elsewhere = np.where(start_of[:, None] == start_of, np.inf, distances).min(axis=1)
    nearest_known = np.full(len(places), np.inf)
    for image in reduce_images(np.stack(known)) if known else ():
        nearest_known = np.minimum(nearest_known, tile_distances(images, image))
    chosen: list[int] = []
    for i in np.argsort(np.minimum(elsewhere, nearest_known), kind="stable").tolist():
        is_new = nearest_known[i] > AGREEMENT_DISTANCE and (distances[i, chosen] > AGREEMENT_DISTANCE).all()
        if is_new and len(chosen) < n:
            chosen.append(i)
    return [places[i] for i in chosen]
