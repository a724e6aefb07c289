"""Decide whether two images of one framing are made from one template: a large part agrees, the rest is free.

A plain background in common is not a template. The part that agrees must therefore hold its share of the detail of
both images, and their details must correlate there. Detail is the gradient of brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from PIL import Image

from flashbulb.audit.images.distances import N_TILES, RgbImage, RgbImages
from flashbulb.audit.images.fixed_part import Mask
from flashbulb.audit.training_images.matching import Luma, luma
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

PART_DISTANCE = 0.15
"""Largest root mean square difference at which a block agrees."""
MIN_SHARE, MIN_DETAIL, MIN_CORRELATION = 0.65, 0.3, 0.9
"""Lowest share of the area in the part, share of the detail in it, and correlation of the details there."""
MASKED_SHARE, MASKED_DETAIL, MASKED_CORRELATION = 0.3, 0.1, 0.8
"""The same limits for a given part; a part that is not searched for agrees less often by chance."""
REPEATED_DETAIL = 0.5
"""Lowest share of the detail in a part that images repeat, if no training image has it."""

_SIDE = 32  # pixels at which details are compared; at more, the blur of decoding matters
_BLOCKS = 8  # along each side
_MIN_OF_TILE = 0.25  # share of a tile that a mask must keep for the tile to count


@dataclass(frozen=True, slots=True)
class TemplateMatch:
    """The part that two images share.

    Args:
        distance: distance of the worst tile within the part, in [0, 1]; 1 if there is no part.
        share: share of the area in the part.
        detail: share of the detail in the part, in the image where it is smaller.
        correlation: correlation of the details in the part.
        is_match: all four reach their limits, so both images are made from one template.
    """

    distance: float
    share: float
    detail: float
    correlation: float
    is_match: bool


def template_match(image: RgbImage, target: RgbImage, mask: Mask | None = None) -> TemplateMatch:
    """Compare two images [height, width, 3] in the part that is the same across seeds.

    Args:
        mask: [height, width], true in that part; None to search for the part where the two agree.

    Raises:
        ValueError: images and mask differ in size.
    """
    if image.shape != target.shape or (mask is not None and mask.shape != image.shape[:2]):
        raise ValueError(
            f"images of {image.shape} and {target.shape}"
            f"{'' if mask is None else f' and a mask of {mask.shape}'} cannot be compared"
        )
    a, b = _small(image), _small(target)
    part = _agreeing_blocks(a, b) if mask is None else _small_mask(mask)
    distance = _distance(a, b, part)
    share = float(part.mean())
    detail, correlation = _details(luma(a), luma(b), part)
    limits = (MIN_SHARE, MIN_DETAIL, MIN_CORRELATION)
    if mask is not None:
        limits = (MASKED_SHARE, MASKED_DETAIL, MASKED_CORRELATION)
    enough = all(value >= limit for value, limit in zip((share, detail, correlation), limits, strict=True))
    return TemplateMatch(distance, share, detail, correlation, enough and distance <= REPLICATION_DISTANCE)


def repeats_detail(images: RgbImages, mask: Mask) -> bool:
    """Return whether every two of the images [image, height, width, 3] have most of their detail in `mask`, alike."""
    part, lumas = _small_mask(mask), [luma(_small(image)) for image in images]
    pairs = [_details(a, b, part) for a, b in combinations(lumas, 2)]
    return all(detail >= REPEATED_DETAIL and alike >= MASKED_CORRELATION for detail, alike in pairs)


def _small_mask(mask: Mask) -> Mask:
    whole = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(np.asarray(whole.resize((_SIDE, _SIDE), Image.Resampling.BOX)) > 127)


def _small(image: RgbImage) -> RgbImage:
    return np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _squared_difference(a: RgbImage, b: RgbImage) -> npt.NDArray[np.float32]:
    """Compute the mean square difference of the channels: [height, width]."""
    difference = (a.astype(np.float32) - b.astype(np.float32)) / 255
    return np.asarray(np.square(difference).mean(axis=2), dtype=np.float32)


def _agreeing_blocks(a: RgbImage, b: RgbImage) -> Mask:
    side = _SIDE // _BLOCKS
    blocks = _squared_difference(a, b).reshape(_BLOCKS, side, _BLOCKS, side).mean(axis=(1, 3))
    return np.asarray(np.kron(blocks <= PART_DISTANCE**2, np.ones((side, side))), dtype=np.bool_)


def _distance(a: RgbImage, b: RgbImage, part: Mask) -> float:
    """Compute the tile distance within a part; tiles that hold little of it do not count."""
    side = _SIDE // N_TILES
    tiles = (N_TILES, side, N_TILES, side)
    kept = part.reshape(tiles).mean(axis=(1, 3))
    sums = (_squared_difference(a, b) * part).reshape(tiles).mean(axis=(1, 3))
    counted = kept >= _MIN_OF_TILE
    return float(np.sqrt((sums[counted] / kept[counted]).max())) if counted.any() else 1.0


def _details(a: Luma, b: Luma, part: Mask) -> tuple[float, float]:
    """Return the share of the detail in the part, and the correlation of both images' details there."""
    x, y = (np.stack([np.gradient(v, axis=0), np.gradient(v, axis=1)]) for v in (a, b))  # [axis, height, width]
    xx, yy, xy = (float((product * part).sum()) for product in (x * x, y * y, x * y))
    if min(xx, yy) <= 0:
        return 0.0, 0.0
    return min(xx / float((x * x).sum()), yy / float((y * y).sum())), xy / np.sqrt(xx * yy)
