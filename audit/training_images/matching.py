"""Decide whether a sample copies an image: align the two, then compare their tiles and their brightness.

Either measure alone takes unrelated images for copies: dark or flat images have a small tile distance, and images of
the same layout have a high correlation of brightness (ZNCC). The two together do not. `tests/bench/image_index.py`
measures the thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.audit.training_images.hashes import Box
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

_Value = TypeVar("_Value", bound=np.generic)
Luma = npt.NDArray[np.float32]  # [height, width], in [0, 1]

MIN_ZNCC = 0.6
"""Lowest correlation of brightness of a copy in the same framing."""
ALIGNED_DISTANCE, MIN_ALIGNED_ZNCC = 0.15, 0.9
"""Stricter limits after a search for the best window, which finds similar windows in unrelated images too."""
MIN_OVERLAP, MIN_COVER = 0.55, 0.75
"""Lowest shares of the sample and of the image's centred crop in an overlap: of each, and of at least one."""

FINE_SIDE = 128
"""Length in pixels of a sample's short side when it is compared."""

_STEPS = (0.01, 0.005, 0.0025)  # of the sample's width
_MOVES_A_STEP = 3
_HOPELESS = 0.75  # below this correlation, smaller steps do not reach that of a copy
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FLAT = 2.5 / 255  # standard deviation below which brightness is no evidence


class Alignment(NamedTuple):
    """Where the sample's frame lies in the image: upper left corner and width, in units of the image's width."""

    left: float
    top: float
    width: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """The region that a sample and an image both show: in pixels of the sample, and as a box in pixels of the image."""

    left: int
    top: int
    right: int
    bottom: int
    box: Box

    def crop_sample(self, sample: npt.NDArray[_Value]) -> npt.NDArray[_Value]:
        """Cut the region out of the sample."""
        return sample[self.top : self.bottom, self.left : self.right]

    def crop_image(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Cut the region out of the image, at the sample's resolution: [height, width], with channels unless grey."""
        size = (self.right - self.left, self.bottom - self.top)
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=self.box))


@dataclass(frozen=True, slots=True)
class Match:
    """How similar a sample and an image are where they overlap.

    Args:
        distance: tile distance, in [0, 1].
        zncc: correlation of brightness, in [-1, 1].
        box: the part of the image that the sample shows: left, top, right, bottom, from 0 to 1.
        sample, image: that part of each, [height, width, 3].
    """

    distance: float
    zncc: float
    box: Box
    sample: RgbImage
    image: RgbImage

    @property
    def is_copy(self) -> bool:
        """True if distance and correlation both are those of a copy."""
        return self.distance <= ALIGNED_DISTANCE and self.zncc >= MIN_ALIGNED_ZNCC


def luma(image: RgbImage) -> Luma:
    """Compute the brightness of an image, in [0, 1]: [height, width]."""
    return np.asarray(image.astype(np.float32) @ _LUMA / 255, dtype=np.float32)


def zncc(a: Luma, b: Luma) -> float:
    """Compute the zero-mean normalised cross-correlation of two brightnesses of one shape; 0 if either is flat."""
    x, y = a - a.mean(), b - b.mean()
    spreads = float(np.sqrt(np.square(x).mean())), float(np.sqrt(np.square(y).mean()))
    return float((x * y).mean()) / (spreads[0] * spreads[1]) if min(spreads) > _FLAT else 0.0


def is_replica(sample: RgbImage, image: RgbImage, distance: float) -> bool:
    """Return whether a sample [height, width, 3] replicates an image of the same framing at this tile distance."""
    return distance <= REPLICATION_DISTANCE and zncc(luma(sample), luma(image)) >= MIN_ZNCC


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Resize an image so that its short side has at most `side` pixels."""
    factor = min(1.0, side / min(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def overlap(at: Alignment, sample: tuple[int, int], image: tuple[int, int]) -> Overlap | None:
    """Find the region that both show, for sizes (width, height) in pixels; None if they overlap too little."""
    pixel = at.width * image[0] / sample[0]  # size of the sample's pixels, in pixels of the image
    x, y = at.left * image[0], at.top * image[0]
    left, top = max(0, math.ceil(-x / pixel - 1e-6)), max(0, math.ceil(-y / pixel - 1e-6))
    right = min(sample[0], math.floor((image[0] - x) / pixel + 1e-6))
    bottom = min(sample[1], math.floor((image[1] - y) / pixel + 1e-6))
    if right <= left or bottom <= top:
        return None
    area = (right - left) * (bottom - top)
    aspect = sample[0] / sample[1]
    crop = min(image[0], image[1] * aspect) ** 2 / aspect
    shares = area / (sample[0] * sample[1]), min(1.0, area * pixel**2 / crop)
    if min(shares) < MIN_OVERLAP or max(shares) < MIN_COVER:
        return None
    box = (
        max(0.0, x + left * pixel),
        max(0.0, y + top * pixel),
        min(float(image[0]), x + right * pixel),
        min(float(image[1]), y + bottom * pixel),
    )
    return Overlap(left, top, right, bottom, box)


def correlation(sample: Luma, image: Image.Image, at: Alignment) -> float:
    """Compute the ZNCC of a sample and a grey image where they overlap; -1 if they overlap too little."""
    shared = overlap(at, (sample.shape[1], sample.shape[0]), image.size)
    if shared is None:
        return -1.0
    return zncc(shared.crop_sample(sample), np.asarray(shared.crop_image(image) / 255, dtype=np.float32))


def align(sample: Luma, image: Image.Image, start: Alignment) -> Alignment:
    """Move and scale the sample's frame over a grey image to the best fit, by steps down to 0.25 % of its width."""
    best, value = start, correlation(sample, image, start)
    for step in _STEPS:
        for _ in range(_MOVES_A_STEP):
            top, at = max((correlation(sample, image, at), at) for at in _neighbours(best, step * best.width))
            if top <= value:
                break
            best, value = at, top
        if value < _HOPELESS:
            break
    return best


def _neighbours(at: Alignment, step: float) -> list[Alignment]:
    moves = ((step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step))
    return [Alignment(at.left + x, at.top + y, at.width) for x, y in moves] + [
        Alignment(at.left - grown / 2, at.top - grown / 2, at.width + grown) for grown in (step, -step)
    ]


def match(sample: RgbImage, image: Image.Image, at: Alignment) -> Match | None:
    """Compare a sample with the window of an image that it is aligned with; None if they overlap too little."""
    shared = overlap(at, (sample.shape[1], sample.shape[0]), image.size)
    if shared is None:
        return None
    a, b = shared.crop_sample(sample), shared.crop_image(image)
    width, height = image.size
    left, top, right, bottom = shared.box
    box = (left / width, top / height, right / width, bottom / height)
    return Match(float(tile_distances(a[None], b)[0]), zncc(luma(a), luma(b)), box, a, b)
