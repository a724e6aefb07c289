"""Decide whether two pictures of one framing share a large part that is the same, the rest being free.

A plain background in common makes no template: what agrees must hold its share of the detail of both pictures, and
their details must agree there. Detail is the gradient of brightness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from audit.evidence import N_TILES, REPLICATION_DISTANCE
from audit.training.matching import Luma, Picture, luma

Mask = npt.NDArray[np.bool_]  # [height, width]

PART_DISTANCE = 0.15
"""Tile distance up to which a part agrees."""
MIN_SHARE, MIN_DETAIL, MIN_CORRELATION = 0.65, 0.3, 0.9
"""Of the area that agrees, of the detail in it, and of the details there with one another."""
MASKED_SHARE, MASKED_DETAIL, MASKED_CORRELATION = 0.3, 0.1, 0.8
"""The same where the part is given rather than looked for, which leaves chance less to choose from."""

_SIDE = 32  # pixels at which details are compared; more would see the blur of decoding
_PARTS = 8  # along each side
_MIN_OF_TILE = 0.25  # share of a tile that a mask must keep for the tile to count


@dataclass(frozen=True, slots=True)
class TemplateMatch:
    """What two pictures share.

    Args:
        distance: of the worst tile within the part, in [0, 1]; 1 where there is no part.
        share: of the area that the part has.
        detail: share of the detail that lies in the part, in the picture where that is less.
        correlation: of details in the part.
        is_match: all of them say that one is made from the template of the other.
    """

    distance: float
    share: float
    detail: float
    correlation: float
    is_match: bool


def template_match(picture: Picture, target: Picture, mask: Mask | None = None) -> TemplateMatch:
    """Compare two pictures [height, width, 3] in the part that is the same across seeds.

    Args:
        mask: [height, width] true in that part; None to look for the part where the two agree.

    Raises:
        ValueError: pictures or mask of different sizes.
    """
    if picture.shape != target.shape or (mask is not None and mask.shape != picture.shape[:2]):
        raise ValueError(
            f"pictures of {picture.shape} and {target.shape}"
            f"{'' if mask is None else f' and a mask of {mask.shape}'} cannot be compared"
        )
    a, b = _small(picture), _small(target)
    if mask is None:
        part = _agreeing(a, b)
    else:
        part = (
            np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((_SIDE, _SIDE), Image.Resampling.BOX)) > 127
        )
    distance = _distance(a, b, part)
    share = float(part.mean())
    detail, correlation = _details(luma(a), luma(b), part)
    limits = (MIN_SHARE, MIN_DETAIL, MIN_CORRELATION)
    if mask is not None:
        limits = (MASKED_SHARE, MASKED_DETAIL, MASKED_CORRELATION)
    enough = all(value >= limit for value, limit in zip((share, detail, correlation), limits, strict=True))
    return TemplateMatch(distance, share, detail, correlation, enough and distance <= REPLICATION_DISTANCE)


def _small(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _squared(a: Picture, b: Picture) -> npt.NDArray[np.float32]:
    """Mean square difference of the channels: [height, width]."""
    difference = (a.astype(np.float32) - b.astype(np.float32)) / 255
    return np.asarray(np.square(difference).mean(axis=2), dtype=np.float32)


def _agreeing(a: Picture, b: Picture) -> Mask:
    side = _SIDE // _PARTS
    parts = _squared(a, b).reshape(_PARTS, side, _PARTS, side).mean(axis=(1, 3))
    return np.asarray(np.kron(parts <= PART_DISTANCE**2, np.ones((side, side))), dtype=np.bool_)


def _distance(a: Picture, b: Picture, part: Mask) -> float:
    """Tile distance within a part; tiles that hold little of it do not count."""
    side = _SIDE // N_TILES
    tiles = (N_TILES, side, N_TILES, side)
    kept = part.reshape(tiles).mean(axis=(1, 3))
    sums = (_squared(a, b) * part).reshape(tiles).mean(axis=(1, 3))
    counted = kept >= _MIN_OF_TILE
    return float(np.sqrt((sums[counted] / kept[counted]).max())) if counted.any() else 1.0


def _details(a: Luma, b: Luma, part: Mask) -> tuple[float, float]:
    """Share of the detail that lies in the part, and the correlation of both pictures' details there."""
    x, y = (np.stack([np.gradient(v, axis=0), np.gradient(v, axis=1)]) for v in (a, b))  # [axis, height, width]
    of_a, of_b, both = (float((product * part).sum()) for product in (x * x, y * y, x * y))
    if min(of_a, of_b) <= 0:
        return 0.0, 0.0
    return min(of_a / float((x * x).sum()), of_b / float((y * y).sum())), both / np.sqrt(of_a * of_b)
