"""Keep the cache within a size: what was used longest ago is deleted, never what is in use or not yet in its store.

Every place that was fetched has a file in `.uses`, which names it and holds the time of its last use. A process that
uses the place has that file locked until it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from flashbulb.audit.stores.locks import locked
from flashbulb.reports.tables.files import LOCK_FILE
from flashbulb.reports.tables.stores import CACHE_LIMIT_VARIABLE, StoreError, as_uri, cache_root

logger = logging.getLogger(__name__)

DEFAULT_GIB = 100.0
_USES, _UNSENT = ".uses", ".unsent"
_used_here: dict[Path, IO[str]] = {}
"""Locked files of this process by the places that they name; locks end with their files."""


def use(place: Path) -> None:
    """Keep a place of the cache until this process ends.

    Raises:
        StoreError: the limit of the cache is no number.
    """
    _limit()  # a mistake is told at once, not when something is fetched
    with _one_at_a_time():
        if place not in _used_here:
            _used_here[place] = _note(place, _USES).open("r+")
            with suppress(OSError):  # a file system without locks
                fcntl.flock(_used_here[place], fcntl.LOCK_SH)
        os.utime(_note(place, _USES))


@contextmanager
def unsent(place: Path) -> Iterator[None]:
    """Keep a place until a block has ended without an error, in this process or in one that comes later."""
    with _one_at_a_time():
        note = _note(place, _UNSENT)
    yield
    note.unlink(missing_ok=True)


def make_room(n_bytes: int) -> None:
    """Delete what was used longest ago until so many bytes more stay within the limit, or nothing can be deleted.

    Raises:
        StoreError: the limit is no number.
    """
    limit, root = _limit(), cache_root()
    with _one_at_a_time():
        size = _size_of(root)
        if size + n_bytes <= limit:
            return
        notes = {
            _place_of(note): note for note in sorted((root / _USES).iterdir(), key=_time_of) if note.name != LOCK_FILE
        }
        kept = [place for place, note in notes.items() if place in _used_here or _is_locked(note)]
        kept += [_place_of(note) for note in (root / _UNSENT).glob("*")]
        for place, note in notes.items():
            if not any(_are_nested(place, other) for other in kept):
                size -= _size_of(place)
                _delete(place)
                note.unlink()
                logger.info("%s leaves the cache, to make room", as_uri(place))
            if size + n_bytes <= limit:
                return


def _limit() -> float:
    text = os.environ.get(CACHE_LIMIT_VARIABLE) or str(DEFAULT_GIB)
    try:
        limit = float(text) * 2**30
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise StoreError(f"{CACHE_LIMIT_VARIABLE} is {text!r}, not a number of GiB")
    return limit


def _note(place: Path, kind: str) -> Path:
    """Return the file that names a place, and write it if it is not there."""
    name = place.relative_to(cache_root()).as_posix()
    note = cache_root() / kind / hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]
    if not note.exists():
        note.parent.mkdir(exist_ok=True)
        note.write_text(name, encoding="utf-8", errors="surrogateescape")
    return note


def _place_of(note: Path) -> Path:
    return cache_root() / note.read_text(encoding="utf-8", errors="surrogateescape")


def _time_of(note: Path) -> int:
    return note.stat().st_mtime_ns


def _is_locked(note: Path) -> bool:
    with note.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # or a file system without locks, where nothing is deleted
            return True
    return False


def _are_nested(place: Path, other: Path) -> bool:
    return place == other or place in other.parents or other in place.parents


def _size_of(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    size = 0
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):
                size += Path(folder, name).lstat().st_size
    return size


def _delete(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let no other process of this machine begin to use a place, or make room."""
    with locked(cache_root() / _USES / LOCK_FILE):
        yield
