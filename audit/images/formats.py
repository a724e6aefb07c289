"""Tell images from other files, by the end of their name and by their first bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

from flashbulb.reports.figures.image_files import decoded_formats

HEAD = 16
"""Bytes from the start of a file by which Pillow tells formats apart."""

# Their few first bytes also start other files, so only a suffix tells them.
_WEAKLY_MARKED = frozenset(
    {"DIB", "PCX", "DCX", "SGI", "MSP", "IPTC", "XVTHUMB", "FLI", "IMT", "MCIDAS", "GBR", "FTEX"}
)


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of these formats, in lower case, each with its dot."""
    formats = {*decoded_formats()}
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def has_image_suffix(name: str) -> bool:
    """Return whether a name ends like an image's."""
    _, dot, suffix = name.rpartition(".")
    return f"{dot}{suffix.lower()}" in image_suffixes()


def starts_like_an_image(head: bytes) -> bool:
    """Return whether the first `HEAD` bytes of a file are those of an image, whatever its name."""
    head = head.ljust(HEAD, b"\0")
    for name in decoded_formats():
        accept = Image.OPEN[name][1]
        if accept is not None and name not in _WEAKLY_MARKED and accept(head) is True:
            return True
    return False


def read_head(path: Path) -> bytes:
    """Read the first `HEAD` bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(HEAD)
    except OSError:
        return b""
