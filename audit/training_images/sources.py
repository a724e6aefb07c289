"""Find and read training images in folders, imagefolders and webdataset tar shards; nothing is unpacked to disk."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_METADATA = ("metadata.csv", "metadata.jsonl")
_FILE_NAME_COLUMN = "file_name"


class TrainingImagesError(ValueError):
    """The training images cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where the bytes of an image are stored.

    Args:
        file: path of the file relative to the source, with slashes; empty if the source is itself the tar.
        name: name inside the tar; empty for an image file.
        offset: position of its first byte in the file.
        size: size in bytes; -1 for a file that metadata list but that does not exist.
    """

    file: str
    name: str
    offset: int
    size: int

    def pack(self) -> bytes:
        """Encode the member as the bytes that `unpack` reads."""
        return "\0".join((self.file, self.name, str(self.offset), str(self.size))).encode("utf-8", "surrogateescape")

    @classmethod
    def unpack(cls, record: bytes) -> Member:
        """Decode a member that `pack` encoded."""
        file, name, offset, size = record.decode("utf-8", "surrogateescape").split("\0")
        return cls(file, name, int(offset), int(size))

    def path(self, source: Path) -> Path:
        """Return the path of the image's file; for an image in a tar, its name below the path of the tar."""
        return source / self.file / self.name


def find_members(source: Path) -> Iterator[Member]:
    """Find the images of a folder, its subfolders and the tar files in them, sorted by path; or those of a single tar.

    Links to folders are followed, but never back into a folder that is being read. Files that a `metadata.csv` or
    `metadata.jsonl` lists under `file_name` count as images whatever their suffix; other images need no listing.

    Raises:
        TrainingImagesError: the source is neither a folder nor a readable tar, or metadata lists a file outside of
            its folder.
    """
    if source.name.lower().endswith(_COMPRESSED):
        raise TrainingImagesError(f"{source} is compressed, so no image can be read by itself; decompress it to .tar")
    if source.is_file() and source.suffix.lower() == ".tar":
        return _in_tar(source, "")
    if not source.is_dir():
        raise TrainingImagesError(f"no folder or .tar {source}; give a folder of training images, or a .tar of them")
    return _in_folder(source, "", frozenset())


def _in_folder(source: Path, inside: str, above: frozenset[tuple[int, int]]) -> Iterator[Member]:
    folder = source / inside
    here = folder.stat()
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:  # a folder sorts with its slash, as in a complete path
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
    for name in names:
        lower = name.lower()
        if name.endswith("/"):
            yield from _in_folder(source, inside + name, above | {identity})
        elif lower.endswith(SUFFIXES):
            yield from _as_file(folder / name, inside + name)
        elif lower.endswith(".tar"):
            yield from _in_tar(folder / name, inside + name)
        elif lower in _METADATA:
            yield from _listed(folder / name, source, inside)
        elif lower.endswith(_COMPRESSED):
            logger.warning("%s is compressed and skipped; decompress it to .tar", folder / name)


def _as_file(path: Path, file: str) -> Iterator[Member]:
    try:
        status = path.stat()
    except OSError:  # a link to nowhere
        return
    if stat.S_ISREG(status.st_mode):
        yield Member(file, "", 0, status.st_size)


def _in_tar(path: Path, file: str) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:") as tar:
            kept: list[tarfile.TarInfo] = vars(tar)["members"]  # emptied below, else it would hold every member
            while (info := tar.next()) is not None:
                if info.isreg() and not info.issparse() and info.name.lower().endswith(SUFFIXES):
                    yield Member(file, info.name, info.offset_data, info.size)
                kept.clear()
    except (tarfile.TarError, OSError) as error:
        logger.warning("%s is damaged (%s); only its images before the damage are used", path, error)


def _listed(metadata: Path, source: Path, inside: str) -> Iterator[Member]:
    """Find the images that only the metadata list: those with another suffix, and those that do not exist."""
    for name in _file_names(metadata):
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise TrainingImagesError(f"{metadata} lists {name!r}, outside of its folder; remove that row")
        path = source / inside / name
        if not path.is_file():
            yield Member(inside + name, "", 0, -1)
        elif not name.lower().endswith(SUFFIXES):
            yield from _as_file(path, inside + name)


def _file_names(metadata: Path) -> Iterator[str]:
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines) if metadata.suffix == ".csv" else map(json.loads, filter(str.strip, lines))
            for row in rows:
                name = row.get(_FILE_NAME_COLUMN) if isinstance(row, dict) else None
                if isinstance(name, str) and name:
                    yield name
    except (csv.Error, ValueError) as error:
        raise TrainingImagesError(f"{metadata} cannot be read: {error}; repair it or remove it") from error


def read_member(source: Path, member: Member) -> bytes:
    """Read the bytes of an image.

    Raises:
        OSError: the image is missing or has another size than when it was found.
    """
    if member.name:
        with (source / member.file).open("rb") as file:
            file.seek(member.offset)
            data = file.read(member.size)
    else:
        data = (source / member.file).read_bytes()
    if len(data) != member.size:
        raise OSError(f"{member.path(source)} has {len(data)} bytes, not {member.size}")
    return data


def decode(data: bytes, at_least: int = 0) -> Image.Image:
    """Decode an image in RGB and turn it upright.

    Args:
        at_least: pixels per side that the caller needs, so that a JPEG need not be decoded completely; 0 for full
            resolution.
    """
    with Image.open(io.BytesIO(data)) as image:
        if at_least:
            image.draft("RGB", (at_least, at_least))
        return ImageOps.exif_transpose(image).convert("RGB")
