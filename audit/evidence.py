"""Compare pictures: distance to a training picture and agreement between seeds, without any learnt embedding.

The distance is Carlini et al.'s tiled L2 (arXiv 2301.13188): root mean square difference in the worst of 4 x 4
tiles, so that a shared plain background cannot make two pictures alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # [height, width, 3]
Pictures = npt.NDArray[np.uint8]  # [picture, height, width, 3]

N_TILES = 4
REPLICATION_DISTANCE = 0.2
"""A sample this near to a training picture replicates it: decoding blurs, so a copy is not exact."""

AGREEMENT_DISTANCE = 0.1
"""Samples of two seeds this near show one picture; decoding blurs both alike, so less is allowed than above."""


def tile_distances(pictures: Pictures, target: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Distance of each picture [picture, height, width, 3] to `target` [height, width, 3]: [picture], in [0, 1]."""
    if pictures.shape[1:] != target.shape:
        raise ValueError(f"pictures of shape {pictures.shape[1:]} cannot be compared with one of {target.shape}")
    difference = (pictures.astype(np.float32) - target.astype(np.float32)) / 255
    squared = difference.astype(np.float64) ** 2
    rows = np.array_split(squared, N_TILES, axis=1)
    tiles = [tile.mean(axis=(1, 2, 3)) for row in rows for tile in np.array_split(row, N_TILES, axis=2)]
    return np.asarray(np.sqrt(np.max(tiles, axis=0)), dtype=np.float64)


def pairwise_distances(pictures: Pictures) -> npt.NDArray[np.float64]:
    """Distance between every two of the pictures: [picture, picture]."""
    return np.stack([tile_distances(pictures, picture) for picture in pictures])


def seed_agreement(pictures: Pictures, limit: float = AGREEMENT_DISTANCE) -> float:
    """Share of seeds in the largest group of pictures that lie within `limit` of one of them; 1/n when none agree."""
    return float((pairwise_distances(pictures) <= limit).sum(axis=1).max() / len(pictures))


def seed_diversity(pictures: Pictures) -> float:
    """Median distance between two of the pictures [seed, height, width, 3]."""
    return float(np.median(pairwise_distances(pictures)[np.triu_indices(len(pictures), k=1)]))


def agrees(agreement: float, n_pictures: int, share: float) -> bool:
    """Whether a `seed_agreement` reaches a share of the pictures, and of at least two: one agrees with itself."""
    return agreement >= share and agreement * n_pictures > 1.5


def medoid(pictures: Pictures) -> int:
    """Index of the picture with the smallest total distance to the others."""
    return int(pairwise_distances(pictures).sum(axis=1).argmin())
