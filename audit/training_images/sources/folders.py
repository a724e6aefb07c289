"""Walk a folder of training images, and read which images its metadata list."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flashbulb.audit.training_images.sources.members import Member, PassOver, TrainingImagesError
from flashbulb.reports.views.text import visible_text

METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of files that list the images of their folder."""

_FILE_NAME_COLUMN = "file_name"


def walk(source: Path, pass_over: PassOver) -> Iterator[str]:
    """Yield the names of the files in a folder and its subfolders, relative to it, in the order of their paths.

    Links to folders are followed, but each folder is read only once.
    """
    seen: set[tuple[int, int]] = set()
    ahead = [""]  # relative names, those of folders end in a slash; the last is the next
    while ahead:
        name = ahead.pop()
        if name and not name.endswith("/"):
            yield name
        else:
            ahead += reversed(_children(source, name, seen, pass_over))


def _children(source: Path, name: str, seen: set[tuple[int, int]], pass_over: PassOver) -> list[str]:
    folder = source / name
    try:
        here = folder.stat()
        if (here.st_dev, here.st_ino) in seen:
            pass_over("folder that is read already", name)
            return []
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(folder) as entries:  # a folder sorts with its slash, as in a complete path
            return sorted(f"{name}{entry.name}/" if _is_folder(entry) else name + entry.name for entry in entries)
    except OSError:
        pass_over("folder that cannot be read", name or source.name)
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def size_of_file(path: Path, label: str, pass_over: PassOver) -> int | None:
    """Return the size of a file in bytes; None if it is missing or no regular file, such as a pipe."""
    try:
        status = path.stat()
    except OSError:
        pass_over("missing or link to nothing", label)
        return None
    if not stat.S_ISREG(status.st_mode):
        pass_over("no regular file", label)
        return None
    return status.st_size


def find_missing(metadata: Path, source: Path, name: str) -> Iterator[Member]:
    """Find the images that metadata list but that do not exist.

    Args:
        name: of the metadata, relative to the source.

    Raises:
        TrainingImagesError: the metadata cannot be read, or list a file outside of their folder.
    """
    folder = name.rpartition("/")[0]
    for listed in _file_names(metadata):
        parts = PurePosixPath(listed)
        if parts.is_absolute() or ".." in parts.parts:
            raise TrainingImagesError(
                f"{metadata} lists '{visible_text(listed, 200)}', outside of its folder; remove that row"
            )
        if not os.path.lexists(source / folder / listed):
            yield Member(f"{folder}/{listed}" if folder else listed, "", 0, -1)


def _file_names(metadata: Path) -> Iterator[str]:
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as lines:
            rows = (
                csv.DictReader(lines) if metadata.suffix.lower() == ".csv" else map(_record, filter(str.strip, lines))
            )
            for row in rows:
                name = row.get(_FILE_NAME_COLUMN) if isinstance(row, dict) else None
                if isinstance(name, str) and name:
                    yield name
    except (csv.Error, ValueError, OSError) as error:
        raise TrainingImagesError(f"{metadata} cannot be read: {error}; repair it or remove it") from error


def _record(line: str) -> object:
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("a line is nested too deeply") from error
