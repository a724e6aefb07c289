"""Compare images by their pixels: distance to a training image, and agreement between seeds.

The distance is Carlini et al.'s tiled L2 (arXiv 2301.13188): the root mean square difference in the worst of 4 x 4
tiles. A plain background in common therefore does not make two images similar.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RgbImage = npt.NDArray[np.uint8]  # [height, width, 3]
RgbImages = npt.NDArray[np.uint8]  # [image, height, width, 3]

N_TILES = 4
AGREEMENT_DISTANCE = 0.1
"""Largest distance at which samples of two seeds agree; smaller than that of a copy, because decoding blurs both."""

_MOST_VALUES = 2**23  # pixel values that are compared at once: 200 MB


def tile_distances(images: RgbImages, target: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Compute the distance of each image [image, height, width, 3] to `target` [height, width, 3].

    Returns:
        Distances [image], in [0, 1].

    Raises:
        ValueError: the sizes differ.
    """
    if images.shape[1:] != target.shape:
        raise ValueError(f"images of shape {images.shape[1:]} cannot be compared with one of {target.shape}")
    size = max(1, _MOST_VALUES // max(1, target.size))
    squared = [_worst_tiles(images[first : first + size], target) for first in range(0, len(images), size)]
    return np.sqrt(np.concatenate(squared)) if squared else np.zeros(0)


def _worst_tiles(images: RgbImages, target: RgbImage) -> npt.NDArray[np.float64]:
    """Return the mean square difference of the worst tile: [image]."""
    difference = (images.astype(np.float32) - target.astype(np.float32)) / 255
    means = [tile.mean(axis=1) for tile in _tiles(difference.astype(np.float64) ** 2)]
    return np.asarray(np.max(means, axis=0), dtype=np.float64)


def cross_distances(images: RgbImages, others: RgbImages) -> npt.NDArray[np.float64]:
    """Compute the distance of each image to each of `others`, up to rounding: [image, other]; for many small images."""
    tiles, other_tiles = (_tiles(each.astype(np.float64) / 255) for each in (images, others))
    squared = [
        (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T for a, b in zip(tiles, other_tiles, strict=True)
    ]
    sizes = np.array([tile.shape[1] for tile in tiles])[:, None, None]
    return np.asarray(np.sqrt((np.stack(squared) / sizes).max(axis=0).clip(min=0)), dtype=np.float64)


def _tiles(images: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Split images into tiles, [image, value] each, in one order however the pixels lie in memory."""
    rows = np.array_split(images, N_TILES, axis=1)
    return [tile.reshape(len(images), -1) for row in rows for tile in np.array_split(row, N_TILES, axis=2)]


def is_near_any(image: RgbImage, others: Sequence[RgbImage], limit: float) -> bool:
    """Return whether any of `others` lies within `limit` of the image."""
    return any(float(tile_distances(other[None], image)[0]) <= limit for other in others)


def pairwise_distances(images: RgbImages) -> npt.NDArray[np.float64]:
    """Compute the distance between every two images: [image, image]."""
    return np.stack([tile_distances(images, image) for image in images])


def seed_agreement(images: RgbImages, limit: float = AGREEMENT_DISTANCE) -> float:
    """Compute the share of seeds whose images agree; 1/n if none do.

    The images that agree are the largest group within distance `limit` of one of its members.
    """
    return float((pairwise_distances(images) <= limit).sum(axis=1).max() / len(images))


def seed_diversity(images: RgbImages) -> float:
    """Compute the median distance between two of the images [seed, height, width, 3]."""
    return float(np.median(pairwise_distances(images)[np.triu_indices(len(images), k=1)]))


def seed_distance(images: RgbImages) -> float:
    """Compute the mean distance of an image to the nearest other one, of at least two [seed, height, width, 3]."""
    distances = pairwise_distances(images)  # [image, image]
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).mean())


def agrees(agreement: float, n_images: int, share: float) -> bool:
    """Return whether a `seed_agreement` reaches `share` and covers at least two images; one agrees with itself."""
    return agreement >= share and agreement * n_images > 1.5


def medoid(images: RgbImages) -> int:
    """Return the index of the image with the smallest total distance to the others."""
    return int(pairwise_distances(images).sum(axis=1).argmin())
