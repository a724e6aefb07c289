"""How far an image is from repeating itself.

A plain colour, or a regular pattern, is an image that a description leaves nothing to chance about: seeds that agree on
it remember nothing. Shifted, such an image falls on itself; an image of something does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.images.reduced import REDUCED_SIDE, reduce_image

_SMALLEST_SHIFT, _LARGEST_SHIFT = REDUCED_SIDE // 8, REDUCED_SIDE // 2


def shift_distance(image: RgbImage) -> float:
    """Compute the smallest root mean square difference of an image, reduced, to itself shifted, in [0, 1].

    Shifts are from an eighth to half of a side, along one side or both; what two shifted copies share is compared.
    """
    values = reduce_image(image) / 255
    vertical = range(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1)
    shifts = [(down, right) for down in vertical for right in range(_LARGEST_SHIFT + 1)]
    apart = (shift for shift in shifts if max(map(abs, shift)) >= _SMALLEST_SHIFT)
    return float(np.sqrt(min(_mean_square(values, *shift) for shift in apart)))


def _mean_square(values: npt.NDArray[np.float64], down: int, right: int) -> float:
    top, bottom = max(0, down), max(0, -down)
    moved = values[top : REDUCED_SIDE - bottom, right:]
    fixed = values[bottom : REDUCED_SIDE - top, : REDUCED_SIDE - right]
    difference = moved - fixed
    return float(np.add.reduce(difference * difference, axis=None) / difference.size)  # `mean` takes twice as long
