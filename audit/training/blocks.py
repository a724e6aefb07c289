"""Block means of a picture, whose distance is a lower bound on the tile distance of `audit.evidence`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.evidence import N_TILES

BlockMeans = npt.NDArray[np.float32]  # [picture, tile, block and channel], in [0, 1]

_BLOCKS = 2  # along each side of a tile
_ROWS_AT_ONCE = 8192


def describe(picture: npt.NDArray[np.uint8]) -> BlockMeans:
    """Mean colour of the blocks of each tile, in [0, 1]: [tile, block and channel]."""
    blocks = [
        block.mean(axis=(0, 1))
        for row in np.array_split(picture.astype(np.float32) / 255, N_TILES, axis=0)
        for tile in np.array_split(row, N_TILES, axis=1)
        for half in np.array_split(tile, _BLOCKS, axis=0)
        for block in np.array_split(half, _BLOCKS, axis=1)
    ]
    return np.asarray(np.reshape(blocks, (N_TILES**2, _BLOCKS**2 * 3)), dtype=np.float32)


def lower_bounds(means: BlockMeans, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Tile distance between block means, which the distance between pictures cannot be below: [picture]."""
    target = describe(picture)
    bounds = np.empty(len(means), dtype=np.float32)
    for start in range(0, len(means), _ROWS_AT_ONCE):
        difference = means[start : start + _ROWS_AT_ONCE] - target
        bounds[start : start + _ROWS_AT_ONCE] = np.sqrt(np.square(difference).mean(axis=2).max(axis=1))
    return bounds
