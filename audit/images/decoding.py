"""Decode an image of any format and mode that Pillow reads into 8-bit RGB, as it is stored."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from flashbulb.audit.images.orientation import (
    AS_STORED,
    ORIENTATION_TAG,
    entries,
    exif_orientation,
    orientation_of,
    turn,
)
from flashbulb.reports.figures.image_files import IMAGE_ERRORS, decoded_formats, refuse_bomb

_LARGE = 1 << 25  # pixels
_large_ones = Lock()  # which are decoded one at a time, to bound the memory
_ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF", "TIFF"})
_METADATA_NAMES = ((b"Exif", b"none"), (b"MPF\0", b"none"))
_METADATA_WITHIN = 1 << 16
# Entries of a TIFF that say how its pixels are stored; the others describe it.
_PIXEL_TAGS = frozenset(
    {*range(254, 260), 262, 266, 273, *range(277, 280), 284, 292, 293, 317, *range(320, 326), 338, 339, 347, 530, 532}
)
_UNUSED_TAG, _BYTE = 65000, 1
_BIT_DEPTHS = (8, 12, 16)


class Decoded(NamedTuple):
    """An image in RGB as it is stored, how it is turned for viewing, and whether its file holds further frames."""

    image: Image.Image
    orientation: int
    has_more_frames: bool

    def views(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield the orientation and pixels of every view a model may be trained on: upright, and as stored."""
        if self.orientation != AS_STORED:
            yield self.orientation, turn(self.image, self.orientation)
        yield AS_STORED, self.image


def decode(data: bytes, at_least: int = 0) -> Decoded:
    """Decode the first frame of an image; malformed metadata do not matter.

    Args:
        at_least: pixels per side that the caller needs, so that a JPEG need not be decoded completely; 0 for full
            resolution.

    Raises:
        one of IMAGE_ERRORS: the data are no image, or damaged, or have too many pixels (DecompressionBombError).
    """
    try:
        return _decode(data, at_least)
    except Image.DecompressionBombError:
        raise
    except IMAGE_ERRORS:
        plain = _without_metadata(data)
        if plain == data:
            raise
    decoded = _decode(plain, at_least)
    stated = exif_orientation(data[max(0, data.find(b"Exif\0\0")) :])
    return decoded if stated is None else decoded._replace(orientation=stated)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings of odd files while the context is open; what cannot be read is counted instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _decode(data: bytes, at_least: int) -> Decoded:
    with Image.open(io.BytesIO(data), formats=decoded_formats()) as image:
        refuse_bomb(image, len(data))
        if at_least:
            image.draft("RGB", (at_least, at_least))
        with _large_ones if image.width * image.height > _LARGE else nullcontext():
            orientation = _hide_exif_(image) if image.format == "TIFF" else None
            image.load()
            if orientation is None:
                return Decoded(_as_rgb(image), orientation_of(image), _has_more_frames(image))
            stored = image.copy()  # which has its own size again, not that of the turned image
            return Decoded(_as_rgb(stored), orientation, _has_more_frames(image))


def _hide_exif_(image: Image.Image) -> int:
    """Empty the EXIF data of a TIFF, which Pillow would read and turn the image by; return the orientation."""
    with suppress(*IMAGE_ERRORS):
        image.getexif()
    exif = image.getexif()  # a second call returns what the first could read
    stated = None
    with suppress(*IMAGE_ERRORS):
        stated = exif.get(ORIENTATION_TAG)
    for tag in list(exif):
        del exif[tag]
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else AS_STORED


def _has_more_frames(image: Image.Image) -> bool:
    with suppress(*IMAGE_ERRORS):
        return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    return False


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(grey_levels(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        rgb = ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert rgb is not None, "not converted in place"
        return rgb
    return image.convert("RGB")


def grey_levels(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale grey values of more than 8 bits to 8: [height, width].

    Whole numbers are scaled from the smallest of 8, 12 and 16 bits that holds them all, fractions from [0, 1] or
    [-1, 1]. Values outside of these, such as a scanner's, are scaled from their own range.
    """
    is_fraction = values.dtype.kind == "f"
    numbers = np.asarray(values, dtype=np.float64 if is_fraction else np.float32)
    finite = numbers[np.isfinite(numbers)] if is_fraction else numbers
    if not finite.size:
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = _range(float(finite.min()), float(finite.max()), is_fraction=is_fraction)
    scaled = (np.nan_to_num(numbers, nan=low, posinf=high, neginf=low) - low) * (255 / (high - low))
    return np.asarray(np.rint(scaled).clip(0, 255), dtype=np.uint8)


def _range(low: float, high: float, *, is_fraction: bool) -> tuple[float, float]:
    """Return the values that become black and white."""
    if is_fraction and low >= -1 and high <= 1:
        return (0.0 if low >= 0 else -1.0), 1.0
    for bits in _BIT_DEPTHS:
        if low >= 0 and high <= 2**bits - 1:
            return 0.0, float(2**bits - 1)
    return low, max(high, low + 1)


def _without_metadata(data: bytes) -> bytes:
    """Return the data with their EXIF and multi-picture metadata renamed, so that no decoder reads them."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is not None:
        return _plain_tiff(data, order)
    head = data[:_METADATA_WITHIN]
    for name, other in _METADATA_NAMES:
        head = head.replace(name, other)
    return head + data[_METADATA_WITHIN:]


def _plain_tiff(data: bytes, order: str) -> bytes:
    plain = bytearray(data)
    with suppress(struct.error):
        for at in entries(data, order):
            if struct.unpack_from(f"{order}H", data, at)[0] not in _PIXEL_TAGS:
                struct.pack_into(f"{order}HHI4s", plain, at, _UNUSED_TAG, _BYTE, 4, bytes(4))
    return bytes(plain)
