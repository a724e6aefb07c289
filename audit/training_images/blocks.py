"""Compute block means of images, which give a lower bound on the tile distance of `images/distances.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flashbulb.audit.images.distances import N_TILES, RgbImage

BlockMeans = npt.NDArray[np.float32]  # [image, tile, block and channel], in [0, 1]

_BLOCKS = 2  # along each side of a tile
_ROWS_AT_ONCE = 8192


def block_means(image: RgbImage) -> BlockMeans:
    """Compute the mean colour of the blocks of each tile, in [0, 1]: [tile, block and channel]."""
    blocks = [
        block.mean(axis=(0, 1))
        for row in np.array_split(image.astype(np.float32) / 255, N_TILES, axis=0)
        for tile in np.array_split(row, N_TILES, axis=1)
        for half in np.array_split(tile, _BLOCKS, axis=0)
        for block in np.array_split(half, _BLOCKS, axis=1)
    ]
    return np.asarray(np.reshape(blocks, (N_TILES**2, _BLOCKS**2 * 3)), dtype=np.float32)


def lower_bounds(means: BlockMeans, image: RgbImage) -> npt.NDArray[np.float32]:
    """Compute a lower bound on the distance of an image to each of those with block means `means`: [image].

    The bound is the tile distance between the block means.
    """
    target = block_means(image)
    bounds = np.empty(len(means), dtype=np.float32)
    for start in range(0, len(means), _ROWS_AT_ONCE):
        difference = means[start : start + _ROWS_AT_ONCE] - target
        bounds[start : start + _ROWS_AT_ONCE] = np.sqrt(np.square(difference).mean(axis=2).max(axis=1))
    return bounds
