"""The part of a prompt's pictures that every seed gives alike: what a template memory holds fast.

Webster (arXiv 2305.08694) calls memories whose fixed part is reproduced while the rest varies template verbatim.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from audit.evidence import AGREEMENT_DISTANCE, Pictures
from audit.png import save_png

SMALLEST_SHARE, LARGEST_SHARE = 0.1, 0.9
"""A fixed part between these shares of the picture is a part; beyond them it is nothing or the whole."""

_WINDOW = 16  # of the shorter side: deviations are averaged over a sixteenth of it


@dataclass(frozen=True, slots=True)
class FixedPart:
    """Where seeds agree: `mask` [height, width], and its share of the picture."""

    mask: npt.NDArray[np.bool_]

    @property
    def share(self) -> float:
        return float(self.mask.mean())

    @property
    def is_a_part(self) -> bool:
        return SMALLEST_SHARE <= self.share <= LARGEST_SHARE


def fixed_part(pictures: Pictures) -> FixedPart:
    """Where the root mean square difference between two of the pictures [seed, height, width, 3] is small.

    The limit is that of agreeing pictures, taken in a small window around each pixel in place of a tile.
    """
    values = pictures.astype(np.float64) / 255
    deviation = 2 * values.var(axis=0, ddof=1).mean(axis=2)  # mean squared difference of two seeds: [height, width]
    window = max(3, min(deviation.shape) // _WINDOW)
    local = uniform_filter(deviation, size=window, mode="nearest")
    return FixedPart(np.sqrt(np.maximum(local, 0)) <= AGREEMENT_DISTANCE)


def save_mask(path: Path, part: FixedPart) -> Path:
    """Write the mask as a PNG, white where the picture is fixed; gives its path."""
    save_png(path, part.mask.astype(np.uint8) * 255, {})
    return path
