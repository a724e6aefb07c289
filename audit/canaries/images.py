"""Draw the images of canaries, from a pool or painted: none is near another, none near a training image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.images.decoding import decode, quiet_pillow
from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.audit.images.orientation import turn
from flashbulb.audit.planted.images import paint_poster, random_poster
from flashbulb.audit.planted.patterns import paint_rosette, random_rosette
from flashbulb.audit.run.progress import track
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.reader import fit
from flashbulb.audit.training_images.sources.contents import MemberReader, find_members
from flashbulb.reports.figures.image_files import IMAGE_ERRORS

COMPARED_SIDE = 64
"""Pixels a side at which images are compared."""
MIN_DISTANCE = 0.3
"""Smallest tile distance between two canaries, and to a training image: half as much again as that of a copy."""

_MOST_PER_IMAGE = 40  # painted images that are tried for each canary
_LARGEST_SIDE = 1024


def draw_images(
    n: int, side: int, training: TrainingImages, pool: Path | None, rng: np.random.Generator
) -> list[RgbImage]:
    """Draw `n` images of `side` pixels, [side, side, 3] each.

    Args:
        training: the images of the data set, opened at `COMPARED_SIDE`.
        pool: images to draw from; painted ones are drawn without.

    Raises:
        CanaryError: there are not enough that differ from one another and from the training images.
    """
    drawn: list[RgbImage] = []
    compared: list[RgbImage] = []
    source = _painted(side, _MOST_PER_IMAGE * n, rng) if pool is None else _pooled(pool, side, rng)
    with quiet_pillow(), track("drawing canaries", n, "images") as advance:
        for image in source:
            small = fit(Image.fromarray(image), COMPARED_SIDE, COMPARED_SIDE)
            if compared and tile_distances(np.stack(compared), small).min() < MIN_DISTANCE:
                continue
            if _is_near_training(small, training):
                continue
            drawn.append(image)
            compared.append(small)
            advance()
            if len(drawn) == n:
                return drawn
    where = "painting gave" if pool is None else f"{pool} has"
    raise CanaryError(
        f"{where} {len(drawn)} images that differ from one another and from the training images, {n} are needed; "
        "plant fewer canaries, or give more images with --pool"
    )


def _is_near_training(image: RgbImage, training: TrainingImages) -> bool:
    (nearest,) = training.nearest(image[None])
    return nearest.kind is not None or nearest.distance < MIN_DISTANCE


def _painted(side: int, n: int, rng: np.random.Generator) -> Iterator[RgbImage]:
    for index in range(n):
        yield paint_poster(random_poster(rng), side) if index % 2 else paint_rosette(random_rosette(rng), side)


def _pooled(pool: Path, side: int, rng: np.random.Generator) -> Iterator[RgbImage]:
    members, reader = list(find_members(pool)), MemberReader(pool)
    for index in rng.permutation(len(members)):
        member = members[int(index)]
        try:
            decoded = decode(reader.read(member))
        except IMAGE_ERRORS:
            continue
        yield fit(turn(decoded.image, decoded.orientation), side, side)


def side_of_first(source: Path) -> int:
    """Return the short side of the first readable image of a data set, at most 1024 pixels.

    Raises:
        CanaryError: it has none.
    """
    reader = MemberReader(source)
    with quiet_pillow():
        for member in find_members(source):
            try:
                return min(*decode(reader.read(member)).image.size, _LARGEST_SIDE)
            except IMAGE_ERRORS:
                continue
    raise CanaryError(f"{source} has no image that can be read; give the images of the data set")
