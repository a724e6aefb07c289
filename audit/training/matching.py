"""Decide whether a sample copies a picture: align the two, then ask brightness and tiles, which must agree.

Each of the two measures alone takes strangers for copies: the tile distance of dark or flat pictures is small, and
the correlation of brightness (ZNCC) of pictures with one layout is large. Both together do not; the thresholds are
measured by `tests/bench/image_index.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.evidence import REPLICATION_DISTANCE, tile_distances
from audit.training.hashes import Box

Picture = npt.NDArray[np.uint8]  # [height, width, 3]
_Value = TypeVar("_Value", bound=np.generic)
Luma = npt.NDArray[np.float32]  # [height, width], in [0, 1]

MIN_ZNCC = 0.6
"""Correlation of brightness that a copy of the same framing has at least."""
ALIGNED_DISTANCE, MIN_ALIGNED_ZNCC = 0.15, 0.9
"""Limits after a search for the best window, which finds something alike in strangers as well."""
MIN_OVERLAP, MIN_COVER = 0.55, 0.75
"""Shares of the sample and of the picture's centred crop that a window covers: both the first, one the second."""

FINE_SIDE = 128
"""Pixels of a sample's short side at which it is judged."""

_STEPS = (0.01, 0.005, 0.0025)  # of the sample's width
_MOVES_A_STEP = 3
_HOPELESS = 0.75  # correlation from which smaller steps do not lead to that of a copy
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_FLAT = 2.5 / 255  # standard deviation below which brightness says nothing


class Alignment(NamedTuple):
    """Where the sample's frame lies in the picture: left upper corner and width, in widths of the picture."""

    left: float
    top: float
    width: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a sample and a picture both show: in pixels of the sample, and as a box in pixels of the picture."""

    left: int
    top: int
    right: int
    bottom: int
    box: Box

    def of_sample(self, sample: npt.NDArray[_Value]) -> npt.NDArray[_Value]:
        return sample[self.top : self.bottom, self.left : self.right]

    def of_picture(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """That part of the picture at the sample's resolution: [height, width] of a grey one, else with channels."""
        size = (self.right - self.left, self.bottom - self.top)
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=self.box))


@dataclass(frozen=True, slots=True)
class Match:
    """How alike a sample and a picture are where they overlap.

    Args:
        distance: of the worst tile, in [0, 1].
        zncc: correlation of brightness, in [-1, 1].
        box: the part of the picture that the sample shows: left, top, right, bottom, from 0 to 1.
        sample, picture: that part of both, [height, width, 3].
    """

    distance: float
    zncc: float
    box: Box
    sample: Picture
    picture: Picture

    @property
    def is_copy(self) -> bool:
        return self.distance <= ALIGNED_DISTANCE and self.zncc >= MIN_ALIGNED_ZNCC


def luma(picture: Picture) -> Luma:
    """Brightness in [0, 1]: [height, width]."""
    return np.asarray(picture.astype(np.float32) @ _LUMA / 255, dtype=np.float32)


def zncc(a: Luma, b: Luma) -> float:
    """Zero-mean normalised cross-correlation of two brightnesses of one shape; 0 where either is flat."""
    x, y = a - a.mean(), b - b.mean()
    spreads = float(np.sqrt(np.square(x).mean())), float(np.sqrt(np.square(y).mean()))
    return float((x * y).mean()) / (spreads[0] * spreads[1]) if min(spreads) > _FLAT else 0.0


def is_replica(sample: Picture, picture: Picture, distance: float) -> bool:
    """Whether a sample [height, width, 3] replicates a picture of the same framing at this tile distance."""
    return distance <= REPLICATION_DISTANCE and zncc(luma(sample), luma(picture)) >= MIN_ZNCC


def reduced(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its short side at most `side` pixels long."""
    factor = min(1.0, side / min(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def overlap(at: Alignment, sample: tuple[int, int], picture: tuple[int, int]) -> Overlap | None:
    """What both show, for sizes (width, height) in pixels; None where that is too little."""
    pixel = at.width * picture[0] / sample[0]  # of the sample, in pixels of the picture
    x, y = at.left * picture[0], at.top * picture[0]
    left, top = max(0, math.ceil(-x / pixel - 1e-6)), max(0, math.ceil(-y / pixel - 1e-6))
    right = min(sample[0], math.floor((picture[0] - x) / pixel + 1e-6))
    bottom = min(sample[1], math.floor((picture[1] - y) / pixel + 1e-6))
    if right <= left or bottom <= top:
        return None
    area = (right - left) * (bottom - top)
    aspect = sample[0] / sample[1]
    crop = min(picture[0], picture[1] * aspect) ** 2 / aspect
    shares = area / (sample[0] * sample[1]), min(1.0, area * pixel**2 / crop)
    if min(shares) < MIN_OVERLAP or max(shares) < MIN_COVER:
        return None
    box = (
        max(0.0, x + left * pixel),
        max(0.0, y + top * pixel),
        min(float(picture[0]), x + right * pixel),
        min(float(picture[1]), y + bottom * pixel),
    )
    return Overlap(left, top, right, bottom, box)


def correlation(sample: Luma, picture: Image.Image, at: Alignment) -> float:
    """ZNCC of what a sample and a grey picture both show; -1 where that is too little."""
    both = overlap(at, (sample.shape[1], sample.shape[0]), picture.size)
    if both is None:
        return -1.0
    return zncc(both.of_sample(sample), np.asarray(both.of_picture(picture) / 255, dtype=np.float32))


def align(sample: Luma, picture: Image.Image, start: Alignment) -> Alignment:
    """Move and scale the sample's frame over a grey picture, by steps down to 0.25 % of its width, to the best fit."""
    best, value = start, correlation(sample, picture, start)
    for step in _STEPS:
        for _ in range(_MOVES_A_STEP):
            top, at = max((correlation(sample, picture, at), at) for at in _neighbours(best, step * best.width))
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


def match(sample: Picture, picture: Image.Image, at: Alignment) -> Match | None:
    """Compare a sample with the window of a picture that it was aligned with; None where they hardly overlap."""
    both = overlap(at, (sample.shape[1], sample.shape[0]), picture.size)
    if both is None:
        return None
    a, b = both.of_sample(sample), both.of_picture(picture)
    width, height = picture.size
    box = (both.box[0] / width, both.box[1] / height, both.box[2] / width, both.box[3] / height)
    return Match(float(tile_distances(a[None], b)[0]), zncc(luma(a), luma(b)), box, a, b)
