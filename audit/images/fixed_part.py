"""Find the part of a prompt's images that is the same at every seed: the fixed part of a template memory.

Webster (arXiv 2305.08694) calls a memory template verbatim if a fixed part is reproduced and the rest varies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, RgbImages
from flashbulb.audit.images.png import save_image

Mask = npt.NDArray[np.bool_]  # [height, width]
Masks = npt.NDArray[np.bool_]  # [image, height, width]

SMALLEST_SHARE, LARGEST_SHARE = 0.1, 0.9
"""Shares of the image between which a fixed part counts as partial: less is nothing, more is the complete image."""

_WINDOWS_PER_SIDE = 16  # deviations are averaged over a sixteenth of the shorter side


@dataclass(frozen=True, slots=True)
class FixedPart:
    """Where the images of all seeds agree.

    Args:
        mask: [height, width], true where they agree.
    """

    mask: Mask

    @property
    def share(self) -> float:
        """Share of the image's area."""
        return float(self.mask.mean())

    @property
    def is_partial(self) -> bool:
        """True if the seeds agree in a part of the image only."""
        return SMALLEST_SHARE <= self.share <= LARGEST_SHARE


def fixed_part(images: RgbImages) -> FixedPart:
    """Find where two of the images [seed, height, width, 3] differ little in root mean square.

    The limit is `AGREEMENT_DISTANCE`, applied to a small window around each pixel instead of a tile.
    """
    values = images.astype(np.float64) / 255
    deviation = 2 * values.var(axis=0, ddof=1).mean(axis=2)  # mean squared difference of two seeds: [height, width]
    window = max(3, min(deviation.shape) // _WINDOWS_PER_SIDE)
    local = uniform_filter(deviation, size=window, mode="nearest")
    return FixedPart(np.sqrt(np.maximum(local, 0)) <= AGREEMENT_DISTANCE)


def masked_distances(images: RgbImages, target: RgbImage, mask: Mask) -> npt.NDArray[np.float64]:
    """Compute the root mean square difference inside `mask` of each image [image, height, width, 3] to `target`."""
    difference = (images[:, mask].astype(np.float64) - target[mask].astype(np.float64)) / 255  # [image, pixel, channel]
    return np.asarray(np.sqrt(np.square(difference).mean(axis=(1, 2))), dtype=np.float64)


def save_mask(path: Path, part: FixedPart) -> Path:
    """Write the mask as a PNG file, white where the image is fixed; return its path."""
    save_image(path, part.mask.astype(np.uint8) * 255, {})
    return path
