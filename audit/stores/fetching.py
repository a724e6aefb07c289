"""Fetch what a store holds into the cache: only what is missing there."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs

from flashbulb.audit.stores.claims import is_last_writer, machine_name
from flashbulb.audit.stores.locks import is_held, locked
from flashbulb.audit.stores.room import make_room, use
from flashbulb.audit.stores.store import Store, open_store
from flashbulb.audit.stores.transfer import download, in_parallel, is_same
from flashbulb.reports.tables.files import LOCK_FILE
from flashbulb.reports.tables.stores import (
    CLAIMS_FOLDER,
    StoreError,
    as_uri,
    cache_root,
    check_key,
    in_store,
    local_path,
)

logger = logging.getLogger(__name__)


def fetch(*places: object, without: Collection[str] = ()) -> None:
    """Bring every path in the cache, among `places`, to what its store holds; other values are passed over.

    What this machine was the last to write into a store may be newer here than there. It is kept, and only completed,
    and not even that while a process of this machine writes there.

    Args:
        without: names of folders to leave out.

    Raises:
        StoreError: a store cannot be read.
    """
    for place in places:
        if isinstance(place, str | Path) and in_store(place):
            path = Path(place)
            uri = as_uri(path)
            use(path)
            with _one_at_a_time(path):
                store = open_store(uri)
                objects = find_objects(store, uri)
                kept = _kept_here(store, uri, objects)
                held = {folder for folder in {"", *_claimed_folders(objects)} if is_held(path / folder)}
                wanted = {n: o for n, o in objects.items() if not (_is_apart(n, without) or _is_below(n, held))}
                _fetch(store, path, wanted, kept | held, without)


def fetched(place: str) -> str:
    """Fetch a place if it is a URI, and return its path in the cache; any other place is returned as it is.

    Raises:
        StoreError: the store cannot be read.
    """
    path = local_path(place)
    if path is None:
        return place
    fetch(path)
    return str(path)


def complete(store: Store, path: Path, *, is_newer: bool) -> dict[str, Any]:
    """Bring a run that this process holds to what its store holds, and return its objects by name.

    Args:
        is_newer: keep what the run has, and fetch only files that it lacks.
    """
    with _one_at_a_time(path):
        objects = find_objects(store, as_uri(path))
        wanted = {name: info for name, info in objects.items() if not _is_apart(name, ())}
        _fetch(store, path, wanted, {""} if is_newer else set(), ())
        return wanted


def _fetch(
    store: Store, path: Path, wanted: Mapping[str, Any], kept: Collection[str], without: Collection[str]
) -> None:
    uri, started = as_uri(path), time.monotonic()
    missing = {
        name: info
        for name, info in wanted.items()
        if not ((path / name).is_file() if _is_below(name, kept) else is_same(path / name, info))
    }
    _delete_others(path, wanted.keys(), kept, without)
    if missing:
        size = sum(info.size for info in missing.values())
        make_room(size)
        logger.info("%s: %d of %d files to fetch, %.1f MiB", uri, len(missing), len(wanted), size / 2**20)
        in_parallel(lambda name: download(store, f"{uri}/{name}".rstrip("/"), path / name, missing[name]), missing)
        logger.info("%s: fetched in %.1f s", uri, time.monotonic() - started)


def find_objects(store: Store, uri: str) -> dict[str, Any]:
    """Return what is known of every object below a URI by its key below it; of a single object by an empty key.

    Raises:
        StoreError: the store cannot be read, there is no such bucket, or a key is no path.
    """
    path = store.path(uri)
    alone = store.call(uri, "be read", lambda: store.files.get_file_info(path))
    if alone.type == fs.FileType.File:
        return {"": alone}
    selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
    found = store.call(uri, "be read", lambda: store.files.get_file_info(selector))
    if not found and alone.type == fs.FileType.NotFound:
        bucket = store.call(uri, "be read", lambda: store.files.get_file_info(store.prefix))
        if bucket.type == fs.FileType.NotFound and store.uri.startswith("s3://"):
            raise StoreError(f"{uri} cannot be read: there is no such bucket; create it, or correct its name")
    above = path.strip("/") + "/"
    objects = {info.path.strip("/").removeprefix(above): info for info in found if info.type == fs.FileType.File}
    for key in objects:
        check_key(key, f"{uri}/{key}")
        if clash := next((str(folder) for folder in PurePosixPath(key).parents if str(folder) in objects), None):
            raise StoreError(f"{uri}/{clash} is an object and a folder of {uri}/{key}; rename one of them")
    return objects


def _kept_here(store: Store, uri: str, objects: Iterable[str]) -> set[str]:
    """Return the folders below `uri` that this machine was the last to write into."""
    mine = (name for name in objects if name.endswith(f"{CLAIMS_FOLDER}/{machine_name()}"))
    folders = _claimed_folders(mine)
    return {folder for folder in folders if is_last_writer(store, f"{uri}/{folder}".rstrip("/"))}


def _claimed_folders(objects: Iterable[str]) -> set[str]:
    """Return the folders of runs, by their claims among objects."""
    claims = (PurePosixPath(name).parent for name in objects)
    return {"/".join(claim.parent.parts) for claim in claims if claim.name == CLAIMS_FOLDER}


def _is_below(name: str, folders: Collection[str]) -> bool:
    return any(not folder or name.startswith(f"{folder}/") for folder in folders)


def _is_apart(name: str, without: Collection[str]) -> bool:
    folders = Path(name).parts[:-1]
    return CLAIMS_FOLDER in folders or any(folder in without for folder in folders)


def _delete_others(path: Path, wanted: Collection[str], kept: Collection[str], without: Collection[str]) -> None:
    """Delete from the cache what the store no longer holds."""
    if path.is_file() and "" not in wanted:
        path.unlink()
    for file in list(path.rglob("*")) if path.is_dir() and "" not in wanted else ():
        name = file.relative_to(path).as_posix()
        is_ours = name in wanted or _is_below(name, kept) or _is_apart(name, without) or file.name == LOCK_FILE
        if not is_ours and not file.is_dir():
            file.unlink()


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold all of one bucket in the cache, so that no two processes of this machine fetch the same files."""
    root = cache_root()
    bucket = path.relative_to(root).parts[:2]
    with locked(root / f"{LOCK_FILE}-{'-'.join(bucket)}"):
        yield
