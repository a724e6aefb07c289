"""Thumbnails inside the page as data URIs. Images may be personal data, so they can be blurred or left out."""

from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image

from flashbulb.reports.figures.image_files import IMAGE_ERRORS, open_image
from flashbulb.reports.figures.panels import highlight_fixed_part

ImageMode = Literal["shown", "blurred", "none"]

_SIDE = 160  # pixels of the longer side, at most
_SMALL_SIDE = 48  # of the longer side in a closed row
_BLURRED_SIDE = 6  # pixels of a blurred image per side: no face or writing remains
_QUALITY = 82  # of lossy WebP, 0 to 100


def thumbnail(path: Path, mode: ImageMode, mask: Path | None = None) -> str | None:
    """Return an image as a `data:` URI, at most 160 pixels a side; None if images are not shown or it is unreadable.

    Args:
        mask: an image that is white where the image is kept. The rest is faded.
    """
    if mode == "none":
        return None
    try:
        image = highlight_fixed_part(path, mask) if mask else _open_rgb(path)
    except IMAGE_ERRORS:
        return None
    if mode == "blurred":
        image = _blur(image)
    image.thumbnail((_SIDE, _SIDE))
    return _data_uri(image)


def shrink_data_uri(src: str) -> str:
    """Return a thumbnail again, at most 48 pixels a side."""
    image = Image.open(BytesIO(b64decode(src.partition(",")[2])))
    image.thumbnail((_SMALL_SIDE, _SMALL_SIDE))
    return _data_uri(image, lossless=False)


def _open_rgb(path: Path) -> Image.Image:
    with open_image(path) as opened:
        opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))
        return opened.convert("RGB")


def _blur(image: Image.Image) -> Image.Image:
    """Average over a coarse grid, so that no detail can be recovered, and smooth the result for the eye."""
    coarse = image.resize((_BLURRED_SIDE, _BLURRED_SIDE), Image.Resampling.BOX)
    return coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def _data_uri(image: Image.Image, *, lossless: bool = True) -> str:
    """Encode as WebP: if `lossless` is allowed, so up to 64 pixels a side, where that is small; otherwise lossy."""
    is_small = lossless and max(image.size) <= 64
    buffer = BytesIO()
    image.save(buffer, "WEBP", lossless=is_small, quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode('ascii')}"
