"""Copy single files between a store and the cache.

A file in the cache has the time of its object. So equal sizes and equal times say that it is the object.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flashbulb.audit.stores.store import Store
from flashbulb.reports.tables.files import PART_SUFFIX

Item = TypeVar("Item")
_AT_ONCE = 8  # transfers
_CHUNK = 1 << 20  # bytes


class FileState(NamedTuple):
    """What tells one content of a file from another: files are replaced, never changed in place."""

    number: int
    size: int
    time: int


def state_of(status: os.stat_result) -> FileState:
    """Return the state of a file."""
    return FileState(status.st_ino, status.st_size, status.st_mtime_ns)


def is_same(path: Path, info: Any) -> bool:
    """Return whether a file in the cache is the object that `info` describes; never, if the store tells no times."""
    try:
        found = path.stat()
    except OSError:
        return False
    return info.mtime_ns is not None and (found.st_size, found.st_mtime_ns) == (info.size, whole_seconds(info))


def whole_seconds(info: Any) -> int:
    """Return the time of an object in nanoseconds, without the fraction of a second, which not every answer has."""
    return int(info.mtime_ns) // 10**9 * 10**9


def _version_of(info: Any) -> tuple[Any, ...]:
    """Return what tells one content of an object from another, as `is_same` compares them."""
    return info.type, info.size, None if info.mtime_ns is None else whole_seconds(info)


def download(store: Store, uri: str, path: Path, info: Any) -> None:
    """Write an object to the cache, whole or not at all: one that another replaces meanwhile is read anew.

    Raises:
        StoreError: it cannot be read.
    """
    part = path.with_name(f"{path.name}{PART_SUFFIX}")

    def copy() -> None:
        nonlocal info
        with store.files.open_input_stream(info.path, compression=None) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        size, listed = part.stat().st_size, info
        if size != listed.size or size > _CHUNK:  # a larger one is read by several calls
            info = store.files.get_file_info(listed.path)
        if _version_of(info) != _version_of(listed):
            raise OSError("it was replaced while it was read")
        if size != info.size:
            raise OSError(f"it has {size} bytes, not the {info.size} that it was listed with")

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)  # what the store held before
    try:
        store.call(uri, "be read", copy)
        if info.mtime_ns is not None:
            os.utime(part, ns=(whole_seconds(info),) * 2)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def upload(store: Store, path: Path, uri: str, state: FileState) -> FileState | None:
    """Send a file of the cache to its store, give it the time of its object, and return its state since.

    To be called by another thread than the first: an interrupt in the middle would send half of the file.

    Args:
        state: in which the file is sent; None is returned if it is in another.

    Raises:
        StoreError: the store does not take it.
        FileNotFoundError: it has gone in the meantime.
    """
    with path.open("rb") as source:
        if state_of(os.fstat(source.fileno())) != state:
            return None

        def copy() -> Any:
            source.seek(0)
            with store.files.open_output_stream(store.path(uri), compression=None) as target:
                shutil.copyfileobj(source, target, _CHUNK)
            info = store.files.get_file_info(store.path(uri))
            if info.size != state.size:
                raise OSError(f"{info.size} of {state.size} bytes arrived")
            return info

        info = store.call(uri, "be written", copy)
        if info.mtime_ns is not None:
            os.utime(source.fileno(), ns=(whole_seconds(info),) * 2)
        return state_of(os.fstat(source.fileno()))


def delete_object(store: Store, uri: str) -> None:
    """Delete an object, which may be gone already.

    Raises:
        StoreError: the store refuses.
    """

    def delete() -> None:
        with suppress(FileNotFoundError):
            store.files.delete_file(store.path(uri))

    store.call(uri, "be written", delete)


def in_parallel(function: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call a function with every item, several at once. The first error ends it."""
    ahead, lock, ends = iter(items), threading.Lock(), threading.Event()

    def work() -> None:
        while not ends.is_set():
            with lock:
                item = next(ahead, None)
            if item is None:
                return
            try:
                function(item)
            except BaseException:
                ends.set()
                raise

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            for future in [threads.submit(work) for _ in range(_AT_ONCE)]:
                future.result()
        finally:
            ends.set()  # also where this thread is interrupted
