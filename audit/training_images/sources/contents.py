"""Find and read training images in folders, imagefolders, tars, zips and Parquet files; nothing is unpacked to disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from flashbulb.audit.images.formats import (
    has_image_suffix,
    read_head,
    starts_like_an_image,
)
from flashbulb.audit.training_images.sources.archives import (
    ARCHIVES,
    COMPRESSED,
    COMPRESSED_ARCHIVE,
    TOO_LARGE,
    find_in_tar,
    find_in_zip,
    read_in_zip,
)
from flashbulb.audit.training_images.sources.folders import METADATA, find_missing, size_of_file, walk
from flashbulb.audit.training_images.sources.members import MAX_BYTES, Member, PassOver, TrainingImagesError
from flashbulb.audit.training_images.sources.passed_over import kind_of_name
from flashbulb.audit.training_images.sources.tables import TABLE, Rows, find_in_table

_FINDERS = {".tar": find_in_tar, ".zip": find_in_zip, ".parquet": find_in_table}
_N_OPEN_TABLES = 4


def ignore(reason: str, name: str) -> None:
    """Pass over something without taking note of it."""


def find_members(source: Path, pass_over: PassOver = ignore) -> Iterator[Member]:
    """Find the images of a folder and its subfolders, with the archives and tables in them; or those of one of these.

    Files are sorted by path. A file or member is an image if its suffix is one of a format that Pillow decodes, or if
    its first bytes are. Images that a `metadata.csv` or `metadata.jsonl` lists under `file_name` but that do not exist
    have a size of -1; other images need no listing.

    Args:
        pass_over: is told of everything else.

    Raises:
        TrainingImagesError: the source is neither a folder nor an archive or table, or metadata lists a file outside
            of its folder.
    """
    if source.name.lower().endswith(COMPRESSED):
        raise TrainingImagesError(f"{source} is compressed, so no image can be read by itself; decompress it to .tar")
    finder = _FINDERS.get(source.suffix.lower())
    if finder is not None and source.is_file():
        return finder(source, "", pass_over)
    if not source.is_dir():
        raise TrainingImagesError(
            f"no folder or .tar {source}; give a folder of training images, or a .tar, .zip or .parquet of them"
        )
    return _in_folder(source, pass_over)


def _in_folder(source: Path, pass_over: PassOver) -> Iterator[Member]:
    for name in walk(source, pass_over):
        path = source / name
        size = size_of_file(path, name, pass_over)
        if size is None:
            continue
        if has_image_suffix(name):
            yield from _as_image(name, size, pass_over)
        elif (finder := _FINDERS.get(path.suffix.lower())) is not None:
            yield from finder(path, name, pass_over)
        elif path.name.lower() in METADATA:
            pass_over(kind_of_name(name), name)
            yield from find_missing(path, source, name)
        elif name.lower().endswith(ARCHIVES):
            pass_over(COMPRESSED_ARCHIVE, name)
        elif starts_like_an_image(read_head(path)):
            yield from _as_image(name, size, pass_over)
        else:
            pass_over(kind_of_name(name), name)


def _as_image(name: str, size: int, pass_over: PassOver) -> Iterator[Member]:
    if size > MAX_BYTES:
        pass_over(TOO_LARGE, name)
    else:
        yield Member(name, "", 0, size)


class MemberReader:
    """Read the bytes of the members of a source; several threads may share it. A few tables stay open."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._tables: OrderedDict[tuple[str, str], Rows] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, member: Member) -> bytes:
        """Read the bytes of an image.

        Raises:
            FileNotFoundError: the image is missing.
            OSError: it cannot be read, or has another size than when it was found.
        """
        path = self._source / member.file
        if member.size < 0:
            raise FileNotFoundError(f"{member.label} is listed but missing")
        if member.packing == TABLE:
            with self._lock:
                return self._rows(path, member).read(member.offset)
        with path.open("rb") as file:
            if member.packing:
                return read_in_zip(file, member)
            file.seek(member.offset)
            data = file.read(member.size if member.name else member.size + 1)
        if len(data) != member.size:
            raise OSError(f"{member.label} has {len(data)} bytes, not {member.size}")
        return data

    def _rows(self, path: Path, member: Member) -> Rows:
        key = (member.file, member.column)
        if key not in self._tables:
            self._tables[key] = Rows(path, member.column)
            if len(self._tables) > _N_OPEN_TABLES:
                self._tables.popitem(last=False)[1].close()
        self._tables.move_to_end(key)
        return self._tables[key]
