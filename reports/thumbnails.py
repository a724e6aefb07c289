"""Pictures inside the page: small, as data URIs, blurred or left out where they may be personal data."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image

from reports.panels import fixed_part

Images = Literal["shown", "blurred", "none"]

_SIDE = 160  # pixels, at most
_BLURRED_SIDE = 6  # pixels that are left of a blurred picture: no face, no writing
_QUALITY = 82


def thumbnail(path: Path, images: Images, mask: Path | None = None) -> str | None:
    """A picture as a `data:` URI, at most 160 pixels a side; None where there is none to show.

    Args:
        mask: white where the picture is kept in full, the rest is faded.
    """
    if images == "none":
        return None
    try:
        picture = fixed_part(path, mask) if mask else _opened(path)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if images == "blurred":
        picture = _blurred(picture)
    picture.thumbnail((_SIDE, _SIDE))
    return _data_uri(picture)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))
        return opened.convert("RGB")


def _blurred(picture: Image.Image) -> Image.Image:
    """Average over a coarse grid, so that nothing can be sharpened back, and smooth that for the eye."""
    coarse = picture.resize((_BLURRED_SIDE, _BLURRED_SIDE), Image.Resampling.BOX)
    return coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def _data_uri(picture: Image.Image) -> str:
    """WebP without loss where that is small, as for pictures of 64 pixels, else with little loss."""
    is_small = max(picture.size) <= 64
    buffer = BytesIO()
    picture.save(buffer, "WEBP", lossless=is_small, quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode('ascii')}"
