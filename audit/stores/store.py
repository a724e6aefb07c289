"""Open object stores, and call them again when they fail."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pyarrow import ArrowException, fs

from flashbulb.reports.tables.stores import StoreError, s3_endpoint

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try, once the store has answered at all."""
_SECONDS_TO_CONNECT, _SECONDS_OF_SILENCE = 3, 5
_LONGEST_REASON = 300  # characters
_OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EMFILE, errno.ENOMEM)

_CREDENTIALS = "give credentials that may, in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role"
_LASTING = {
    "NO_SUCH_BUCKET": "there is no such bucket; create it, or correct its name or the endpoint",
    "Bucket '": "there is no such bucket; create it, or correct its name or the endpoint",
    "ACCESS_DENIED": f"permission denied; {_CREDENTIALS}",
    "Forbidden": f"permission denied; {_CREDENTIALS}",
    "HTTP status 403": f"permission denied; {_CREDENTIALS}",
    "HTTP status 401": f"permission denied; {_CREDENTIALS}",
    "INVALID_ACCESS_KEY_ID": f"the access key is unknown; {_CREDENTIALS}",
    "SIGNATURE_DOES_NOT_MATCH": f"the secret key is wrong; {_CREDENTIALS}",
    "EXPIRED_TOKEN": f"the session token has expired; {_CREDENTIALS}",
    "ExpiredToken": f"the session token has expired; {_CREDENTIALS}",
    "OAuth2 access token": "no credentials; run `gcloud auth application-default login`, or set "
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HTTP status 301": "the bucket lies in another region; set AWS_REGION",
    "PERMANENT_REDIRECT": "the bucket lies in another region; set AWS_REGION",
}
"""What a store says that no further try changes, by a part of its message."""
_UNREACHABLE = {
    "curlCode: 6,": "its host has no address",
    "curlCode: 7,": "its host refuses the connection",
    "curlCode: 28,": "its host does not answer",
}


@dataclass(slots=True)
class Store:
    """A bucket, or whatever else the part of a URI before the first slash of its path names.

    Args:
        has_answered: until it has, a call that reaches nobody is not repeated.
    """

    uri: str
    files: Any
    prefix: str
    has_answered: bool = field(default=False)

    def path(self, uri: str) -> str:
        """Return what the file system calls a URI of this store."""
        return self.prefix + uri.removeprefix(self.uri)

    def call(self, uri: str, does: str, function: Callable[[], Result]) -> Result:
        """Call `function`, again after growing pauses if it fails.

        Args:
            does: what the call does with `uri`, as "be read"; for the message.

        Raises:
            StoreError: it failed every time, or for a reason that lasts.
        """
        for wait in (*_WAITS, None):
            try:
                result = function()
                self.has_answered = True
                return result
            except (OSError, ArrowException) as error:
                if isinstance(error, OSError) and error.errno in _OF_THIS_MACHINE:
                    raise
                said, lasting = str(error), _lasting(error)
                is_unknown = not self.has_answered and any(part in said for part in _UNREACHABLE)
                if lasting is not None or wait is None or is_unknown:
                    raise StoreError(f"{uri} cannot {does}: {lasting or _reason(uri, said)}") from error
                logger.debug("%s: %s; again in %g s", uri, said, wait)
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")


def _reason(uri: str, said: str) -> str:
    """Return a store's message without what only its makers understand."""
    where = f" at {s3_endpoint()}" if uri.startswith("s3://") and s3_endpoint() else ""
    for part, reason in _UNREACHABLE.items():
        if part in said:
            return f"{reason}{where}; check the network and AWS_ENDPOINT_URL, and run the same command again"
    short = re.sub(r"\s*\(Request ID: .*?\)", "", said.partition("AWS Error ")[2] or said)
    return f"{short[:_LONGEST_REASON]}; run the same command again to resume"


def _lasting(error: Exception) -> str | None:
    if isinstance(error, PermissionError):
        return f"permission denied; {_CREDENTIALS}"
    if isinstance(error, FileNotFoundError):
        return "it is not there, or no longer"
    return next((reason for part, reason in _LASTING.items() if part in str(error)), None)


def open_store(uri: str) -> Store:
    """Open the store of a URI.

    Raises:
        StoreError: nothing installed reads such URIs, or S3 does not know the bucket.
    """
    scheme, _, rest = uri.partition("://")
    return _open(scheme, rest.partition("/")[0], s3_endpoint())


@cache
def _open(scheme: str, bucket: str, endpoint: str) -> Store:
    uri = f"{scheme}://{bucket}"
    try:
        if scheme == "s3":
            return Store(uri, _s3(bucket, endpoint), bucket)
        if scheme in ("gs", "gcs"):
            return Store(uri, fs.GcsFileSystem(retry_time_limit=timedelta(seconds=10)), bucket)
        files, path = fs.FileSystem.from_uri(uri) if scheme in ("hdfs", "abfs", "abfss") else _fsspec(uri)
        return Store(uri, files, path.strip("/"))
    except (OSError, ValueError, ImportError, ArrowException) as error:
        reason = _lasting(error) or _reason(uri, str(error)).removesuffix("; run the same command again to resume")
        raise StoreError(f"{uri} cannot be opened: {reason}") from error


def _s3(bucket: str, endpoint: str) -> Any:
    options: dict[str, Any] = {"connect_timeout": _SECONDS_TO_CONNECT, "request_timeout": _SECONDS_OF_SILENCE}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        if "@" in url.netloc:
            raise ValueError("AWS_ENDPOINT_URL holds credentials; take them out of it")
        options |= {"endpoint_override": url.netloc + url.path.rstrip("/"), "scheme": url.scheme}
        region = region or "us-east-1"  # or the region is asked of a server of EC2
    return fs.S3FileSystem(region=region or fs.resolve_s3_region(bucket), **options)


def _fsspec(uri: str) -> tuple[Any, str]:
    """Return the file system of fsspec that reads a URI, and the URI's path in it."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise ValueError(
            "s3:// and gs:// are read as they are, anything else with fsspec; pip install fsspec"
        ) from error
    files, path = url_to_fs(uri)
    return fs.PyFileSystem(fs.FSSpecHandler(files)), path
