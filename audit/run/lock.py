"""Hold a directory: one process writes it at a time, and files in it are as private as the directory."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path

from flashbulb.audit.stores.locks import is_held
from flashbulb.reports.tables.files import LOCK_FILE, PART_SUFFIX, RunFileError
from flashbulb.reports.tables.stores import as_uri, in_store

logger = logging.getLogger(__name__)

PRIVATE_FOLDER = 0o700
_OF_OTHERS = 0o077
_LOOKS, _SECONDS_BETWEEN_LOOKS = 5, 0.02
"""Who asks whether a directory is held, as `is_held` does, holds it for an instant; its holder does at every look."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class DirectoryHeldError(RunFileError):
    """Another process holds the directory; the message names both (a usage error)."""


@contextmanager
def hold_directory(directory: Path) -> Iterator[None]:
    """Hold a directory for this process while the block runs, and let it write there; delete what killed writers left.

    The system releases the lock of a process that ends, however it ends; a leftover lock file holds nothing. New files
    and folders give no rights that the directory itself does not give. A directory of an object store is claimed there,
    too, and what the block writes is sent there.

    Raises:
        DirectoryHeldError: another process holds it.
        StoreError: a process of another machine does, or the store cannot be used.
        OSError: it cannot be written.
    """
    with _lock(directory), _as_private_as(directory), _kept_in_store(directory):
        _delete_parts(directory)
        yield


def _kept_in_store(directory: Path) -> AbstractContextManager[None]:
    if not in_store(directory):
        return nullcontext()
    from flashbulb.audit.stores.sending import kept_in_store

    return kept_in_store(directory)


def check_free(directory: Path) -> None:
    """Raise DirectoryHeldError if another process holds the directory; write nothing."""
    if is_held(directory):
        raise _held(directory)


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    descriptor = _open_locked(directory)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _owner().encode(), 0)
        yield
    finally:
        with suppress(OSError):  # a disk that has become read-only keeps it
            (directory / LOCK_FILE).unlink(missing_ok=True)
        os.close(descriptor)


def _open_locked(directory: Path) -> int:
    """Return a locked descriptor of the lock file, which the holder deletes when it is done."""
    path, n_refused = directory / LOCK_FILE, 0
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BlockingIOError as error:
            n_refused += 1
            if n_refused == _LOOKS:
                os.close(descriptor)
                raise _held(directory) from error
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                logger.warning("%s cannot be locked (%s); run one process in it at a time", directory, error.strerror)
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)  # held, or deleted by its holder between the opening and the locking


def _owner() -> str:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})


def _held(directory: Path) -> DirectoryHeldError:
    try:
        owner = json.loads((directory / LOCK_FILE).read_text(encoding="utf-8"))
        by = f"process {owner['process']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has just begun
        by = "another flashbulb process"
    return DirectoryHeldError(f"{as_uri(directory)} is held by {by}; wait until it ends, or choose another directory")


@contextmanager
def _as_private_as(directory: Path) -> Iterator[None]:
    refused = _OF_OTHERS & ~stat.S_IMODE(directory.stat().st_mode)
    before = os.umask(_OF_OTHERS)
    os.umask(before | refused)
    try:
        yield
    finally:
        os.umask(before)


def _delete_parts(directory: Path) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            if name.endswith(PART_SUFFIX):
                with suppress(OSError):
                    (Path(folder) / name).unlink()
