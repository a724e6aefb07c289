"""Write a file complete or not at all, and seal a JSON document with the hash of its content."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

_SEAL = "seal"


class DamagedFile(ValueError):  # noqa: N818
    """A file does not hold what was written."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside `path`, flush to the disk, then rename: a reader sees the complete file or none.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno) if error.errno else str(error), str(path)) from error
    finally:
        with suppress(OSError):  # a disk that has become read-only keeps it
            part.unlink(missing_ok=True)


def sealed(content: Mapping[str, object]) -> str:
    """Return a JSON document of `content` and a hash of it, which `unsealed` compares.

    Raises:
        ValueError: a number is not finite.
    """
    plain = json.loads(json.dumps(dict(content), allow_nan=False))  # as `unsealed` reads it
    return json.dumps({**plain, _SEAL: _hash(plain)}, indent=2) + "\n"


def unsealed(path: Path) -> dict[str, Any]:
    """Return the content that `sealed` wrote into a file.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFile: the file holds anything else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or content.pop(_SEAL, None) != _hash(content):
        raise DamagedFile(f"{path} is damaged: it is not what was written")
    return content


def _hash(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
