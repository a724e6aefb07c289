"""Read a set of training images in one pass, several at a time, and report those that cannot be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.images.png import IMAGE_ERRORS
from flashbulb.audit.run.progress import track
from flashbulb.audit.training_images.hashes import IMAGE_WINDOWS, window_hashes
from flashbulb.audit.training_images.index import Entry
from flashbulb.audit.training_images.matching import shrink
from flashbulb.audit.training_images.sources import (
    SUFFIXES,
    Member,
    TrainingImagesError,
    decode,
    find_members,
    read_member,
)

logger = logging.getLogger(__name__)

ENOUGH_FOR_HASHES, ENOUGH_FOR_DESCRIPTORS = 128, 640  # pixels per side

_THREADS = min(8, os.cpu_count() or 1)
_AT_ONCE = 2 * _THREADS  # images in flight; bounds the memory


def fit(image: Image.Image, height: int, width: int) -> RgbImage:
    """Take the largest centred crop of the wanted shape and resize it, as training scripts do: [height, width, 3]."""
    # LANCZOS averages over area when it shrinks
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS), dtype=np.uint8)


def read_set(source: Path, aspect: float, at_least: int) -> Iterator[Entry]:
    """Read and hash every image of a folder or tar, in the order of `find_members`.

    Images that cannot be read are skipped. One warning at the end counts them and names the first.

    Args:
        at_least: pixels per side that the caller needs; 0 for full resolution.

    Raises:
        TrainingImagesError: there is no image that can be read.
    """
    total = sum(1 for _ in find_members(source))
    n_read, unreadable = 0, None
    with track("training images", total, "images") as advance:
        for member, entry in _in_order(source, aspect, at_least):
            advance()
            if entry is not None:
                n_read += 1
                yield entry
            elif unreadable is None:
                unreadable = member
    if not n_read:
        why = f"none of its {total} can be read" if total else f"it holds no {', '.join(SUFFIXES)}"
        raise TrainingImagesError(f"{source} has no training image: {why}; give a folder or .tar of images")
    if unreadable is not None:
        logger.warning(
            "%d of %d training images cannot be read and are skipped, first %s",
            total - n_read,
            total,
            unreadable.path(source),
        )


def _in_order(source: Path, aspect: float, at_least: int) -> Iterator[tuple[Member, Entry | None]]:
    def read(member: Member) -> tuple[Member, Entry | None]:
        try:
            image = decode(read_member(source, member), at_least)
            hashes = window_hashes(image, IMAGE_WINDOWS, aspect)
            return member, Entry(member, hashes, shrink(image, at_least) if at_least else image)
        except IMAGE_ERRORS:
            return member, None

    members = find_members(source)
    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        while chunk := list(islice(members, _AT_ONCE)):
            yield from threads.map(read, chunk)
