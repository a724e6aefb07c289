"""Locks of files on this machine, which the system releases when their process ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flashbulb.reports.tables.files import LOCK_FILE


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let no other process of this machine that names the same file of the cache into the block."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_held(directory: Path) -> bool:
    """Return whether a process of this machine holds a directory; write nothing."""
    with suppress(OSError), (directory / LOCK_FILE).open("rb") as lock:  # no such file, or a file system without locks
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
