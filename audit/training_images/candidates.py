"""Find the training images that a sample may copy, and align the sample's frame with each.

Hashes select the images. The frame is then moved and scaled over all of them at once, at 16 pixels a side, while the
correlation of brightness grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.training_images.hashes import IMAGE_WINDOWS, SAMPLE_WINDOWS, WHOLE, Window, window_hashes
from flashbulb.audit.training_images.index import Hit, ImageIndex
from flashbulb.audit.training_images.matching import MIN_COVER, Alignment

Values = npt.NDArray[np.float32]

THUMBNAIL_SIDE = 32
"""Side in pixels of the grey square to which an image of any shape is resized."""

_SIDE = 16  # points of the sample's frame, along each side
_N_GUESSES, _N_NEAREST = 32, 4  # images that are aligned: the best by correlation at the start, and by hash
_STEPS, _MOVES_A_STEP = (0.06, 0.03, 0.015), 3  # of the sample's width
_NEIGHBOURS = np.array(
    [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (-0.5, -0.5, 1), (0.5, 0.5, -1)], dtype=np.float32
)
_N_KEPT = 8  # fewest images that are aligned to the end
_MIN_SHARE = 0.4  # of the sample that must lie on the image during the search
_FLAT = 2.5  # standard deviation, in levels of 255


class Thumbnail(NamedTuple):
    """An image resized to a grey square [side, side], and its height in units of its width."""

    pixels: npt.NDArray[np.uint8]
    height: float


def make_thumbnail(image: Image.Image) -> Thumbnail:
    """Resize an image to a grey square."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return Thumbnail(np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)), image.height / image.width)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that a sample may copy.

    Args:
        index: position of the image in the index.
        is_mirrored: the mirrored sample matches.
        at: where the sample's frame lies in the image.
        correlation: ZNCC of the region that both show, at 16 pixels a side.
    """

    index: int
    is_mirrored: bool
    at: Alignment
    correlation: float


@dataclass(frozen=True, slots=True)
class Place:
    """An image, and the windows of the sample and of the image that may show the same."""

    index: int
    is_mirrored: bool
    sample_window: Window = WHOLE
    image_window: Window = WHOLE


def find_places(index: ImageIndex, sample: RgbImage, n: int) -> list[Place]:
    """Find the `n` images with a window nearest to a window of the sample or its mirror image, nearest first."""
    aspect = sample.shape[1] / sample.shape[0]
    queries = [
        window_hashes(Image.fromarray(np.ascontiguousarray(oriented)), SAMPLE_WINDOWS, aspect)
        for oriented in (sample, sample[:, ::-1])
    ]
    return [_place(hit) for hit in index.shortlist(np.concatenate(queries), n)]


def _place(hit: Hit) -> Place:
    is_mirrored, window = divmod(hit.query, len(SAMPLE_WINDOWS))
    return Place(hit.index, bool(is_mirrored), SAMPLE_WINDOWS[window], IMAGE_WINDOWS[hit.window])


def find_candidates(
    sample: RgbImage, places: Sequence[Place], thumbnail: Callable[[int], Thumbnail], n: int
) -> list[Candidate]:
    """Align the sample at each place, and return the `n` candidates with the highest correlation, best first.

    Args:
        places: nearest first.
        thumbnail: returns the thumbnail of an image by its index.
    """
    thumbnails = [thumbnail(place.index) for place in places]
    frames = _Frames(sample, [place.is_mirrored for place in places], thumbnails)
    at = np.array([_start(place, sample, t.height) for place, t in zip(places, thumbnails, strict=True)], np.float32)
    rows = np.arange(len(places))
    by_guess = np.argsort(-frames.correlations(rows, at), kind="stable")[:_N_GUESSES]
    rows = np.union1d(by_guess, rows[:_N_NEAREST])
    rows, at, values = frames.climb(rows, at[rows])
    best = [(places[rows[i]], Alignment(*at[i].tolist()), float(values[i])) for i in range(min(n, len(rows)))]
    return [Candidate(place.index, place.is_mirrored, alignment, value) for place, alignment, value in best]


class _Frames:
    """A sample's frame on each of several images; an alignment is (left, top, width) in units of the image's width."""

    def __init__(self, sample: RgbImage, mirrored: Sequence[bool], thumbnails: Sequence[Thumbnail]) -> None:
        grey = Image.fromarray(sample).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        upright = np.asarray(grey, dtype=np.float32)
        both = np.stack([upright.ravel(), upright[:, ::-1].ravel()])
        self._sample = both[np.array(mirrored, dtype=np.intp)]  # [image, point]
        self._pixels = np.stack([t.pixels.ravel() for t in thumbnails]).astype(np.float32)  # [image, pixel]
        self._height = np.array([t.height for t in thumbnails], dtype=np.float32)
        self._aspect = sample.shape[1] / sample.shape[0]
        points = (np.arange(_SIDE, dtype=np.float32) + 0.5) / _SIDE
        self._x, self._y = np.tile(points, _SIDE), np.repeat(points, _SIDE) / np.float32(self._aspect)

    def climb(self, rows: npt.NDArray[np.intp], at: Values) -> tuple[npt.NDArray[np.intp], Values, Values]:
        """Move alignments [row, 3] uphill in correlation; after each step size only the better half is kept.

        Returns:
            The rows that are kept, their alignments and their correlations.
        """
        values = self.correlations(rows, at)
        for step in _STEPS:
            around = np.repeat(rows, len(_NEIGHBOURS))
            for _ in range(_MOVES_A_STEP):
                tried = at[:, None, :] + _NEIGHBOURS * (step * at[:, None, 2:])  # [row, neighbour, 3]
                scores = self.correlations(around, tried.reshape(-1, 3)).reshape(len(rows), -1)
                best = scores.argmax(axis=1)
                at, values = tried[np.arange(len(rows)), best], scores.max(axis=1)
            kept = np.argsort(-values, kind="stable")[: max(_N_KEPT, len(rows) // 2)]
            rows, at, values = rows[kept], at[kept], values[kept]
        return rows, at, values

    def correlations(self, rows: npt.NDArray[np.intp], at: Values) -> Values:
        """Compute the ZNCC of the sample and images `rows` where they overlap; -1 if they overlap too little: [row]."""
        x = np.asarray(at[:, :1] + self._x * at[:, 2:], dtype=np.float32)  # [row, point]
        y = np.asarray(at[:, 1:2] + self._y * at[:, 2:], dtype=np.float32)
        height = self._height[rows][:, None]
        on = ((x >= 0) & (x <= 1) & (y >= 0) & (y <= height)).astype(np.float32)
        share = on.mean(axis=1)
        crop = np.minimum(1, height[:, 0] * self._aspect) ** 2 / self._aspect  # area of the largest crop
        cover = share * at[:, 2] ** 2 / self._aspect / crop
        brightness = self._interpolate(rows, x, np.asarray(y / height, dtype=np.float32))
        count = np.maximum(on.sum(axis=1), 1)[:, None]
        a, b = self._sample[rows], brightness
        a, b = (
            (a - (a * on).sum(axis=1, keepdims=True) / count) * on,
            (b - (b * on).sum(axis=1, keepdims=True) / count) * on,
        )
        spread = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1)) / count[:, 0]
        found = np.where(spread > _FLAT**2, (a * b).sum(axis=1) / count[:, 0] / np.maximum(spread, 1e-6), 0)
        return np.where((np.minimum(share, cover) < _MIN_SHARE) | (np.maximum(share, cover) < MIN_COVER), -1, found)

    def _interpolate(self, rows: npt.NDArray[np.intp], x: Values, y: Values) -> Values:
        """Interpolate the brightness of images `rows` bilinearly at points x, y in [0, 1]: [row, point]."""
        last = THUMBNAIL_SIDE - 1.001
        x = np.asarray(np.clip(x * THUMBNAIL_SIDE - 0.5, 0, last), dtype=np.float32)
        y = np.asarray(np.clip(y * THUMBNAIL_SIDE - 0.5, 0, last), dtype=np.float32)
        left, top = x.astype(np.intp), y.astype(np.intp)
        right_share, lower_share = x - left, y - top
        first = rows[:, None] * THUMBNAIL_SIDE**2 + top * THUMBNAIL_SIDE + left
        flat = self._pixels.ravel()
        upper = flat[first] * (1 - right_share) + flat[first + 1] * right_share
        first = first + THUMBNAIL_SIDE
        lower = flat[first] * (1 - right_share) + flat[first + 1] * right_share
        return np.asarray(upper * (1 - lower_share) + lower * lower_share, dtype=np.float32)


def _start(place: Place, sample: RgbImage, height: float) -> Alignment:
    """Align the sample's window with the image's, whose height is in units of its width."""
    aspect = sample.shape[1] / sample.shape[0]
    source = place.sample_window.box((1.0, 1 / aspect), aspect)
    target = place.image_window.box((1.0, height), aspect)
    scale = (target[2] - target[0]) / (source[2] - source[0])
    return Alignment(target[0] - source[0] * scale, target[1] - source[1] * scale, scale)
