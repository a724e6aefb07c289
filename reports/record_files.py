"""Read and write a `run.json`: whole, of a version we know, and of the shape its record has."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from reports.files import RUN_FILE, SCHEMA_VERSION, RunFileError, RunIncompleteError, write_text

Record = TypeVar("Record")


def write_record(directory: Path, record: Any) -> None:
    """Write `run.json`, whole or not at all; numbers that are not finite are refused."""
    text = json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(directory / RUN_FILE, text + "\n")


def read_content(directory: Path, command: str) -> Mapping[str, Any]:
    """The content of a directory's `run.json`, if it is whole and of the version that is read here.

    Args:
        command: what writes such a directory, "audit" or "discovery", for messages.
    """
    path = directory / RUN_FILE
    if not directory.is_dir():
        raise RunFileError(f"{directory} is not a directory; give the OUT directory of engram's {command}")
    if not path.is_file():
        raise RunFileError(
            f"{directory} holds no {RUN_FILE}; it is not the OUT of engram's {command}, or that never started"
        )
    content = _parse(path, command)
    _check_version(path, content.get("schema_version"), command)
    return content


def read_as(adapter: TypeAdapter[Record], path: Path, content: Mapping[str, Any], command: str) -> Record:
    """The record that `content` of `path` describes, or one line that names the first field that is wrong."""
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise RunIncompleteError(f"{path}: {where}: {first['msg'].lower()}; run the {command} again") from error


def _parse(path: Path, command: str) -> dict[str, Any]:
    try:
        content = json.loads(
            path.read_bytes(), object_pairs_hook=_every_key_once, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:  # torn JSON, not UTF-8, or what no writer of ours writes
        raise RunIncompleteError(f"{path} is not whole JSON ({error}); run the {command} again") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise RunIncompleteError(f"{path} should hold an object, found {found}; run the {command} again")
    return content


def _every_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _check_version(path: Path, version: object, command: str) -> None:
    if type(version) is not int:
        raise RunFileError(f"{path} has no schema_version; it was not written by engram")
    if version > SCHEMA_VERSION:
        raise RunFileError(
            f"{path} has schema version {version}, this engram reads up to {SCHEMA_VERSION}; install a newer engram"
        )
    if version < SCHEMA_VERSION:
        raise RunFileError(
            f"{path} has schema version {version}, this engram reads {SCHEMA_VERSION}; run the {command} again"
        )
