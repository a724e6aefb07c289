"""Name files in object stores: each has a path in a cache on this machine, and one URI."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from flashbulb.reports.tables.files import RunFileError

CACHE_LIMIT_VARIABLE = "FLASHBULB_CACHE_GIB"
"""Environment variable that bounds the cache; no option sets it, since all commands share the cache."""
CLAIMS_FOLDER = ".claims"
"""Folder of a run in a store that says who writes there; it is no part of the run."""

_SCHEME = r"(?!ray:)[a-z][a-z0-9+.-]+"  # Ray's addresses name no files
_URI = re.compile(rf"({_SCHEME})://(.*)", re.DOTALL)
_AS_PATH = re.compile(rf"({_SCHEME}):/([^/].*)", re.DOTALL)  # pathlib drops a slash
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class StoreError(RunFileError):
    """An object store cannot be used; the message names the URI, the reason and the way out (a usage error)."""


def cache_root() -> Path:
    """Return the folder that holds what is fetched from object stores.

    Raises:
        StoreError: the user has no home directory, as in some containers.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 (which never raises)
    if home.startswith("~"):
        raise StoreError("there is no home directory for a cache of the object store; set XDG_CACHE_HOME to a folder")
    return Path(home).absolute() / "flashbulb" / "stores"


def s3_endpoint() -> str:
    """Return the URL of an S3 server other than that of AWS, as the usual variables name it; empty if none does."""
    return next((url for name in _ENDPOINTS if (url := os.environ.get(name))), "")


def local_path(place: str | Path) -> Path | None:
    """Return the path in the cache of a URI, also one that was made into a path; None if `place` is no URI.

    Raises:
        StoreError: the URI holds credentials or a query, or names no place that a file system can hold.
    """
    match = _AS_PATH.fullmatch(str(place)) if isinstance(place, Path) else _URI.fullmatch(place)
    if match is None or (isinstance(place, Path) and Path(place.parts[0]).exists()):  # a folder with such a name
        return None
    scheme, rest = match[1], match[2].rstrip("/")
    bucket = rest.partition("/")[0]
    user = bucket.rpartition("@")[0]
    if user and (":" in user or not scheme.startswith("abfs")):  # abfss://container@account names no user
        raise StoreError(
            f"a URI of {scheme}:// holds credentials; take them out of it, and give them in the usual variables of the "
            "store, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if "?" in rest or "#" in rest:
        raise StoreError(f"a URI of {scheme}://{bucket} holds a query; give the endpoint in AWS_ENDPOINT_URL instead")
    if scheme == "file":
        raise StoreError("file:// is no object store; give the path itself")
    check_key(rest, f"{scheme}://{rest}")
    endpoint = urlsplit(s3_endpoint()).netloc.rpartition("@")[2] if scheme == "s3" else ""
    return cache_root() / (f"{scheme}@{endpoint}" if endpoint else scheme) / rest


def check_key(key: str, uri: str) -> None:
    """Refuse a key that is no path of a file system.

    Raises:
        StoreError: it has an empty part or a NUL character, or steps to a parent folder.
    """
    if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
        raise StoreError(f"{uri} has an empty part, '.' or '..' between its slashes, or a NUL character; rename it")


def as_uri(place: str | Path) -> str:
    """Return the URI of a path in the cache; any other path is returned as it is."""
    return with_uris(str(place))


def is_uri(place: str) -> bool:
    """Return whether a place is named by a URI, which is whole like an absolute path."""
    return _URI.fullmatch(place) is not None


def in_store(place: str | Path) -> bool:
    """Return whether a path lies in the cache of object stores."""
    return as_uri(place) != str(place)


def with_uris(text: str) -> str:
    """Replace the cache's paths in a text by the URIs that they stand for."""
    try:
        root = str(cache_root())
    except StoreError:  # then nothing lies in a cache
        return text
    if root not in text:
        return text
    return re.sub(rf"{re.escape(root)}/({_SCHEME})(?:@[^/\s]*)?/", r"\1://", text)
