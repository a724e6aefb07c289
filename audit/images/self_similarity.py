"""How far an image is from repeating itself.

A plain colour, or a regular pattern, is an image that a description leaves nothing to chance about: seeds that agree on
it remember nothing. Shifted, such an image falls on itself; an image of something does not.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from flashbulb.audit.images.distances import RgbImage

_SIDE = 32  # images are compared at this size, so that the distance means the same at every resolution
_SMALLEST_SHIFT = _SIDE // 8


def shift_distance(image: RgbImage) -> float:
    """Compute the smallest root mean square difference of an image to itself shifted, in [0, 1].

    Shifts are from an eighth to half of a side, in one direction or both; what two shifted copies share is compared.
    """
    small = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32) / 255
    half = _SIDE // 2
    shifts = ((down, right) for down in range(-half, half + 1) for right in range(half + 1))
    return min(_distance(values, *shift) for shift in shifts if max(map(abs, shift)) >= _SMALLEST_SHIFT)


def _distance(values: np.ndarray, down: int, right: int) -> float:
    top, bottom = max(0, down), max(0, -down)
    moved = values[top : _SIDE - bottom, right:]
    fixed = values[bottom : _SIDE - top, : _SIDE - right]
    return float(np.sqrt(np.square(moved - fixed).mean()))
