"""Read a set of training pictures once, several at a time, and say what could not be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from audit.progress import track
from audit.training.hashes import PICTURE_WINDOWS, window_hashes
from audit.training.index import Entry
from audit.training.matching import reduced
from audit.training.sources import SUFFIXES, UNREADABLE, Member, TrainingImagesError, decode, find_members, read_member

logger = logging.getLogger(__name__)

ENOUGH_FOR_HASHES, ENOUGH_FOR_DESCRIPTORS = 128, 640  # pixels a side

_THREADS = min(8, os.cpu_count() or 1)
_AT_ONCE = 2 * _THREADS  # pictures in flight, which bounds the memory


def fit(picture: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The largest centred crop of the wanted shape, resized as training scripts do: [height, width, 3]."""
    # fit() draws a crop from the centre and shrinks it with LANCZOS, which averages over area when shrinking
    return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS), dtype=np.uint8)


def read_set(source: Path, aspect: float, at_least: int) -> Iterator[Entry]:
    """Read and hash every picture of a folder or tar, in the order of `find_members`.

    Pictures that cannot be read are left out, counted, and the first is named, in one warning at the end.

    Args:
        at_least: pixels a side that the caller needs, 0 for all there are.

    Raises:
        TrainingImagesError: there is no picture that can be read.
    """
    total = sum(1 for _ in find_members(source))
    n_read, unreadable = 0, None
    with track("training pictures", total, "pictures") as advance:
        for member, entry in _in_order(source, aspect, at_least):
            advance()
            if entry is not None:
                n_read += 1
                yield entry
            elif unreadable is None:
                unreadable = member
    if not n_read:
        why = f"none of its {total} can be read" if total else f"it holds no {', '.join(SUFFIXES)}"
        raise TrainingImagesError(f"{source} has no training picture: {why}; give a folder or .tar of pictures")
    if unreadable is not None:
        logger.warning(
            "%d of %d training pictures cannot be read and are left out, first %s",
            total - n_read,
            total,
            unreadable.path(source),
        )


def _in_order(source: Path, aspect: float, at_least: int) -> Iterator[tuple[Member, Entry | None]]:
    def read(member: Member) -> tuple[Member, Entry | None]:
        try:
            picture = decode(read_member(source, member), at_least)
            hashes = window_hashes(picture, PICTURE_WINDOWS, aspect)
            return member, Entry(member, hashes, reduced(picture, at_least) if at_least else picture)
        except UNREADABLE:
            return member, None

    members = find_members(source)
    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        while chunk := list(islice(members, _AT_ONCE)):
            yield from threads.map(read, chunk)
