"""From hashes to candidates: which pictures a sample may copy, and how its frame lies in each.

The frame is moved and scaled over many pictures at once, at 16 pixels a side, as far as brightness correlates better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.training.hashes import PICTURE_WINDOWS, SAMPLE_WINDOWS, WHOLE, Window, window_hashes
from audit.training.index import Hit, ImageIndex
from audit.training.matching import MIN_COVER, Alignment

Picture = npt.NDArray[np.uint8]  # [height, width, 3]
Values = npt.NDArray[np.float32]

THUMBNAIL_SIDE = 32
"""Pixels of the grey square that a whole picture is squeezed into, whatever its shape."""

_SIDE = 16  # points of the sample's frame, along each side
_N_GUESSES, _N_NEAREST = 32, 4  # pictures that are aligned: by correlation as they lie, and by hash
_STEPS, _MOVES_A_STEP = (0.06, 0.03, 0.015), 3  # of the sample's width
_NEIGHBOURS = np.array(
    [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (-0.5, -0.5, 1), (0.5, 0.5, -1)], dtype=np.float32
)
_N_LEFT = 8  # pictures that are aligned to the end
_MIN_SHARE = 0.4  # of the sample that must lie on the picture during the search
_FLAT = 2.5  # standard deviation, in levels of 255


class Thumbnail(NamedTuple):
    """A picture squeezed into a grey square [side, side], and its height in widths."""

    pixels: Picture
    height: float


def thumbnail_of(picture: Image.Image) -> Thumbnail:
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return Thumbnail(
        np.asarray(picture.convert("L").resize(size, Image.Resampling.BILINEAR)), picture.height / picture.width
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture that a sample may copy.

    Args:
        at: where the sample's frame, mirrored if `is_mirrored`, lies in the picture.
        correlation: ZNCC of what both show, at few pixels.
    """

    index: int
    is_mirrored: bool
    at: Alignment
    correlation: float


@dataclass(frozen=True, slots=True)
class Place:
    """A picture with the windows of it and of the sample that are supposed to show the same."""

    index: int
    is_mirrored: bool
    of_sample: Window = WHOLE
    of_picture: Window = WHOLE


def places_by_hash(index: ImageIndex, sample: Picture, n: int) -> list[Place]:
    """The `n` pictures with a window nearest to a window of the sample or its mirror image, nearest first."""
    aspect = sample.shape[1] / sample.shape[0]
    queries = [
        window_hashes(Image.fromarray(np.ascontiguousarray(seen)), SAMPLE_WINDOWS, aspect)
        for seen in (sample, sample[:, ::-1])
    ]
    return [_place(hit) for hit in index.shortlist(np.concatenate(queries), n)]


def _place(hit: Hit) -> Place:
    is_mirrored, window = divmod(hit.query, len(SAMPLE_WINDOWS))
    return Place(hit.index, bool(is_mirrored), SAMPLE_WINDOWS[window], PICTURE_WINDOWS[hit.window])


def aligned(sample: Picture, places: Sequence[Place], thumbnail: Callable[[int], Thumbnail], n: int) -> list[Candidate]:
    """The `n` places where sample and picture correlate most once aligned, best first.

    Args:
        places: nearest first.
        thumbnail: of a picture, by index.
    """
    thumbnails = [thumbnail(place.index) for place in places]
    frames = _Frames(sample, [place.is_mirrored for place in places], thumbnails)
    at = np.array([_start(place, sample, t.height) for place, t in zip(places, thumbnails, strict=True)], np.float32)
    rows = np.arange(len(places))
    by_guess = np.argsort(-frames.correlations(rows, at), kind="stable")[:_N_GUESSES]
    rows = np.union1d(by_guess, rows[:_N_NEAREST])
    rows, at, values = frames.climb(rows, at[rows])
    chosen = [(places[rows[i]], Alignment(*at[i].tolist()), float(values[i])) for i in range(min(n, len(rows)))]
    return [Candidate(place.index, place.is_mirrored, found, value) for place, found, value in chosen]


class _Frames:
    """A sample's frame on each of several pictures; an alignment is (left, top, width) in widths of the picture."""

    def __init__(self, sample: Picture, mirrored: Sequence[bool], thumbnails: Sequence[Thumbnail]) -> None:
        grey = Image.fromarray(sample).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        upright = np.asarray(grey, dtype=np.float32)
        both = np.stack([upright.ravel(), upright[:, ::-1].ravel()])
        self._sample = both[np.array(mirrored, dtype=np.intp)]  # [picture, point]
        self._pixels = np.stack([t.pixels.ravel() for t in thumbnails]).astype(np.float32)  # [picture, pixel]
        self._height = np.array([t.height for t in thumbnails], dtype=np.float32)
        self._aspect = sample.shape[1] / sample.shape[0]
        points = (np.arange(_SIDE, dtype=np.float32) + 0.5) / _SIDE
        self._x, self._y = np.tile(points, _SIDE), np.repeat(points, _SIDE) / np.float32(self._aspect)

    def climb(self, rows: npt.NDArray[np.intp], at: Values) -> tuple[npt.NDArray[np.intp], Values, Values]:
        """Move alignments [row, 3] to where the correlation is highest nearby; after each step the better half goes on.

        Returns:
            The rows that are left, their alignments and their correlations.
        """
        values = self.correlations(rows, at)
        for step in _STEPS:
            around = np.repeat(rows, len(_NEIGHBOURS))
            for _ in range(_MOVES_A_STEP):
                tried = at[:, None, :] + _NEIGHBOURS * (step * at[:, None, 2:])  # [row, neighbour, 3]
                scores = self.correlations(around, tried.reshape(-1, 3)).reshape(len(rows), -1)
                best = scores.argmax(axis=1)
                at, values = tried[np.arange(len(rows)), best], scores.max(axis=1)
            kept = np.argsort(-values, kind="stable")[: max(_N_LEFT, len(rows) // 2)]
            rows, at, values = rows[kept], at[kept], values[kept]
        return rows, at, values

    def correlations(self, rows: npt.NDArray[np.intp], at: Values) -> Values:
        """ZNCC of sample and pictures `rows` where they overlap, -1 where that is too little: [row]."""
        x = np.asarray(at[:, :1] + self._x * at[:, 2:], dtype=np.float32)  # [row, point]
        y = np.asarray(at[:, 1:2] + self._y * at[:, 2:], dtype=np.float32)
        height = self._height[rows][:, None]
        on = ((x >= 0) & (x <= 1) & (y >= 0) & (y <= height)).astype(np.float32)
        share = on.mean(axis=1)
        crop = np.minimum(1, height[:, 0] * self._aspect) ** 2 / self._aspect  # the largest of the sample's shape
        cover = share * at[:, 2] ** 2 / self._aspect / crop
        there = self._interpolated(rows, x, np.asarray(y / height, dtype=np.float32))
        count = np.maximum(on.sum(axis=1), 1)[:, None]
        a, b = self._sample[rows], there
        a, b = (
            (a - (a * on).sum(axis=1, keepdims=True) / count) * on,
            (b - (b * on).sum(axis=1, keepdims=True) / count) * on,
        )
        spread = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1)) / count[:, 0]
        found = np.where(spread > _FLAT**2, (a * b).sum(axis=1) / count[:, 0] / np.maximum(spread, 1e-6), 0)
        return np.where((np.minimum(share, cover) < _MIN_SHARE) | (np.maximum(share, cover) < MIN_COVER), -1, found)

    def _interpolated(self, rows: npt.NDArray[np.intp], x: Values, y: Values) -> Values:
        """Brightness of pictures `rows` at points x, y in [0, 1], bilinear: [row, point]."""
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


def _start(place: Place, sample: Picture, height: float) -> Alignment:
    """The alignment that lays the sample's window on that of a picture, whose height is in widths."""
    aspect = sample.shape[1] / sample.shape[0]
    of_sample, of_picture = place.of_sample.box((1.0, 1 / aspect), aspect), place.of_picture.box((1.0, height), aspect)
    scale = (of_picture[2] - of_picture[0]) / (of_sample[2] - of_sample[0])
    return Alignment(of_picture[0] - of_sample[0] * scale, of_picture[1] - of_sample[1] * scale, scale)
