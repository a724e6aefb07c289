"""Open image files of unknown origin: only formats that Pillow itself decodes, and none that is a bomb."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, ImageCms

IMAGE_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(AssertionError, RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
    ImageCms.PyCMSError,
)
"""What Pillow raises for a file that is damaged, too large, or no image; its parsers meet errors of any kind."""

_USUAL = ("PNG", "JPEG", "WEBP")
# EPS runs Ghostscript on the file. The others are recognized by Pillow but not decoded.
_NOT_DECODED = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
_MOST_PIXELS_PER_BYTE = 1000  # of an image that Pillow warns of; a photograph has less than 100


@cache
def decoded_formats() -> tuple[str, ...]:
    """Return the formats of images that Pillow decodes without running another program, the usual ones first."""
    Image.init()
    return (*_USUAL, *(name for name in Image.ID if name not in {*_USUAL, *_NOT_DECODED}))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file without decoding it; Pillow's warnings of odd files are silenced.

    Raises:
        one of IMAGE_ERRORS: it is no regular file, no image or a bomb, or the block cannot decode it.
    """
    if not path.is_file():  # a pipe would block
        raise FileNotFoundError(f"{path} is no file")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with Image.open(path, formats=decoded_formats()) as image:
            refuse_bomb(image, path.stat().st_size)
            yield image


def refuse_bomb(image: Image.Image, n_bytes: int) -> None:
    """Refuse what Pillow only warns of, if so few bytes hold so many pixels that they are next to empty.

    Raises:
        DecompressionBombError: naming both numbers.
    """
    n_pixels = image.width * image.height
    if n_pixels > max(Image.MAX_IMAGE_PIXELS or 0, _MOST_PIXELS_PER_BYTE * n_bytes):
        raise Image.DecompressionBombError(f"{n_pixels} pixels in {n_bytes} bytes")
