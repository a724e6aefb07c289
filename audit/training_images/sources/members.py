"""Say where a training image is stored: in a file, a tar, a zip or a Parquet table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 1 << 28
"""Largest encoded image that is read, in bytes: 256 MiB."""

PassOver = Callable[[str, str], None]
"""Take note of something that is not read: the reason, and its name relative to the source."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class TrainingImagesError(ValueError):
    """The training images cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where the bytes of an image are stored, and how it is turned.

    Args:
        file: path of the file relative to the source, with slashes; empty if the source is itself the file.
        name: name inside the tar, zip or table; empty for an image file.
        offset: position of its first byte in the file; in a zip, of its header; in a table, its row.
        size: size in bytes as stored; -1 for a file that metadata list but that does not exist.
        packing: how a zip stores it, `stored` or `deflated`; `table` in a Parquet file; empty elsewhere.
        column: path of its column in a table.
        orientation: how the pixels are turned after decoding, as in EXIF: 1 not at all, 6 by 90 degrees.
        is_first: False for a further view of an image that has a member already.
    """

    file: str
    name: str
    offset: int
    size: int
    packing: str = ""
    column: str = ""
    orientation: int = 1
    is_first: bool = True

    def pack(self) -> bytes:
        """Encode the member as the bytes that `unpack` reads."""
        return _encode([getattr(self, name) for name in self.__slots__]).encode("ascii")

    @classmethod
    def unpack(cls, record: bytes) -> Member:
        """Decode a member that `pack` encoded."""
        return cls(*json.loads(record))

    def path(self, source: Path) -> Path:
        """Return the path of the image's file; for an image in an archive, its name below the path of the archive.

        Names that are not UTF-8 are escaped, and no name inside an archive leads out of it.
        """
        return Path(_encodable(str(source / self.file / inside(self.name))))

    @property
    def label(self) -> str:
        """Its name relative to the source; like every name, it is untrusted text."""
        return "/".join(part for part in (self.file, inside(self.name)) if part)


def inside(name: str) -> str:
    """Return a name in an archive without its root and its steps to a parent folder."""
    return "/".join(f"_{part}" if part == ".." else part for part in name.replace("\0", "_").split("/") if part)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
