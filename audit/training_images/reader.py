"""Read a set of training images in one pass, several at a time, and count what is passed over."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from flashbulb.audit.images.decoding import decode, quiet_pillow
from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.images.formats import has_image_suffix
from flashbulb.audit.run.progress import track
from flashbulb.audit.training_images.hashes import IMAGE_WINDOWS, window_hashes
from flashbulb.audit.training_images.index import Entry
from flashbulb.audit.training_images.sources.contents import MemberReader, find_members
from flashbulb.audit.training_images.sources.members import Member, TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import Tally, kind_of_name
from flashbulb.audit.training_images.sources.tables import TABLE
from flashbulb.reports.figures.image_files import IMAGE_ERRORS, decoded_formats
from flashbulb.reports.views.passed_over import PassedOver, beside_text, passed_over_line
from flashbulb.reports.views.text import visible_text

logger = logging.getLogger(__name__)

ENOUGH_FOR_HASHES, ENOUGH_FOR_DESCRIPTORS = 128, 640  # pixels per side
UNREADABLE, MISSING = "cannot be read", "missing"
TOO_MANY_PIXELS = "too many pixels"
FURTHER_FRAMES = "frames after the first"

Keep = Callable[[Image.Image], Image.Image]

_THREADS = min(8, os.cpu_count() or 1)
_AT_ONCE = 2 * _THREADS  # images in flight; bounds the memory


def fit(image: Image.Image, height: int, width: int) -> RgbImage:
    """Take the largest centred crop of the wanted shape and resize it, as training scripts do: [height, width, 3]."""
    # LANCZOS averages over area when it shrinks
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS), dtype=np.uint8)


def is_shown_alike(path: Path, image: RgbImage) -> bool:
    """Return whether any reader of a file shows the training image [height, width, 3] as it was compared.

    A turned image, grey of more than 8 bits and a member of an archive are not shown alike.
    """
    if not path.is_file():
        return False
    try:
        with quiet_pillow(), Image.open(path, formats=decoded_formats()) as file:
            return np.array_equal(fit(file.convert("RGB"), image.shape[0], image.shape[1]), image)
    except IMAGE_ERRORS:
        return False


def read_set(source: Path, aspect: float, at_least: int, keep: Keep, tally: Tally) -> Iterator[Entry]:
    """Read and hash every image of a source, in the order of `find_members`; a turned image has an entry for each view.

    One line at the end counts what was passed over and names the first of each kind.

    Args:
        at_least: pixels per side that the caller needs; 0 for full resolution.
        keep: what to keep of an image.
        tally: collects what is passed over.

    Raises:
        TrainingImagesError: there is no image that can be read.
    """
    total, n_read = sum(1 for _ in find_members(source)), 0
    with quiet_pillow(), track("training images", total, "images") as advance:
        for member, read in _in_order(source, aspect, at_least, keep, tally):
            advance()
            if isinstance(read, str):
                tally.add(read, member.label)
                continue
            n_read += 1
            if read.has_more_frames:
                tally.add(FURTHER_FRAMES, member.label)
            yield from read.entries
    passed_over = tally.result()
    if not n_read:
        why = passed_over_line(passed_over) or "it holds no file"
        raise TrainingImagesError(
            f"{source} has no training image that can be read: {why}; give a folder or .tar of images"
        )
    log_passed_over(source, passed_over)


def log_passed_over(source: Path, rows: tuple[PassedOver, ...]) -> None:
    """Log what was passed over, as a warning unless it is only captions and other text files."""
    if rows:
        level = logging.WARNING if beside_text(rows) else logging.INFO
        logger.log(level, "not compared in %s: %s", visible_text(str(source), 1000), passed_over_line(rows))


def first_images(source: Path, n: int, height: int, width: int) -> RgbImages | None:
    """Read the first `n` images of a source, at one size: [image, height, width, 3]; None if none can be read.

    Raises:
        TrainingImagesError: the source does not exist or is no set of images.
    """

    def fitted(image: Image.Image) -> Image.Image:
        return Image.fromarray(fit(image, height, width))

    with quiet_pillow(), closing(_in_order(source, width / height, max(height, width), fitted, Tally())) as reads:
        entries = (read.entries[0] for _, read in reads if isinstance(read, _Read))
        images = [np.asarray(entry.image) for entry in islice(entries, n)]
    return np.stack(images) if images else None


class _Read(NamedTuple):
    entries: list[Entry]
    has_more_frames: bool


def _in_order(
    source: Path, aspect: float, at_least: int, keep: Keep, tally: Tally
) -> Generator[tuple[Member, _Read | str]]:
    reader = MemberReader(source)

    def read(member: Member) -> tuple[Member, _Read | str]:
        try:
            decoded = decode(reader.read(member), at_least)
        except IMAGE_ERRORS as error:
            return member, _reason(member, error)
        entries: list[Entry] = []
        for orientation, image in decoded.views():
            view = replace(member, orientation=orientation, is_first=not entries)
            entries.append(Entry(view, window_hashes(image, IMAGE_WINDOWS, aspect), keep(image)))
        return member, _Read(entries, decoded.has_more_frames)

    members = find_members(source, tally.add)
    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        while chunk := list(islice(members, _AT_ONCE)):
            yield from threads.map(read, chunk)


def _reason(member: Member, error: BaseException) -> str:
    """Return why a member is passed over: one that only starts like an image is called by its suffix."""
    name = member.name or member.file
    if isinstance(error, Image.DecompressionBombError):
        return TOO_MANY_PIXELS
    if isinstance(error, FileNotFoundError):
        return MISSING
    return UNREADABLE if has_image_suffix(name) or member.packing == TABLE else kind_of_name(name)
