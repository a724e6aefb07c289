"""Write and read PNG files that record in their metadata what they show, and a hash of their pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flashbulb.audit.images.distances import RgbImage
from flashbulb.reports.figures.image_files import IMAGE_ERRORS
from flashbulb.reports.tables.files import METADATA_KEY, atomic_write

_SHA256 = "sha256"


class StoredImage(NamedTuple):
    """Pixels [height, width, 3] of a file, and its metadata; `{}` if the file has none of ours."""

    pixels: RgbImage
    metadata: Mapping[str, Any]


def save_image(path: Path, pixels: npt.NDArray[np.uint8], metadata: Mapping[str, Any]) -> None:
    """Write pixels [height, width] or [height, width, 3] as a PNG file, complete or not at all.

    A file that already has exactly this content is not written again.

    Args:
        metadata: what the image shows, as values that JSON can hold; empty for none.
    """
    text = PngInfo()
    if metadata:
        text.add_itxt(METADATA_KEY, json.dumps(dict(metadata)))
        text.add_text(_SHA256, _hash(pixels))
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG", pnginfo=text)
    content = encoded.getvalue()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_bytes(content)


def read_image(path: Path) -> StoredImage:
    """Read an image file in RGB, with the metadata that `save_image` wrote.

    Raises:
        OSError: the file is missing, damaged or no image.
    """
    try:
        with Image.open(path) as image:
            stated = getattr(image, "text", {})
            metadata = json.loads(stated.get(METADATA_KEY, "{}"))
            pixels, written = np.asarray(image.convert("RGB"), dtype=np.uint8), np.asarray(image)
    except OSError:
        raise
    except IMAGE_ERRORS as error:
        raise OSError(f"{path} is no readable image: {error}") from error
    if METADATA_KEY in stated and stated.get(_SHA256) != _hash(written):
        raise OSError(f"{path} is damaged: its pixels are not what was written")
    return StoredImage(pixels, metadata)


def pixel_key(pixels: RgbImage) -> str:
    """Return a key of an image's pixels, 16 hex digits."""
    return _hash(pixels)[:16]


def _hash(pixels: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
