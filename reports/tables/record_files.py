"""Read `run.json`; refuse a file that is damaged, of another version, or not shaped like its record."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from flashbulb.reports.tables.files import RUN_FILE, RunFileError, RunIncompleteError, check_version

Count = Annotated[int, Field(ge=0)]
"""A number of things, in a record."""

Record = TypeVar("Record")


class RepeatedKeyError(ValueError):
    """An object of JSON has a key twice, of which json.loads would keep the last."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} is repeated")
        self.key = key


def read_content(directory: Path, command: str) -> Mapping[str, Any]:
    """Return the JSON object in a directory's `run.json`.

    Args:
        command: what writes such a directory, "audit", "discovery" or "ablation"; messages name it.

    Raises:
        RunFileError: there is no run.json, or it has another schema version.
        RunIncompleteError: it is not a valid JSON object.
    """
    path = directory / RUN_FILE
    if not directory.is_dir():
        raise RunFileError(f"{directory} is not a directory; {_way_out(directory, command)}")
    if not path.is_file():
        raise RunFileError(f"{directory} holds no {RUN_FILE}; {_way_out(directory, command)}")
    content = _parse(path, command)
    version = content.get("schema_version")
    if type(version) is not int:
        raise RunFileError(f"{path} has no schema_version; it was not written by flashbulb")
    check_version(path, version, command)
    return content


def read_finished(directory: Path, command: str, written_by: str, finished: str, running: str) -> Mapping[str, Any]:
    """Return the JSON object of a finished run of a command other than an audit.

    Args:
        command, written_by: "discovery" and "discover": what messages call it and its command.
        finished, running: its two statuses.

    Raises:
        RunFileError: there is none, or it has another schema version.
        RunIncompleteError: it is unfinished, or not a valid JSON object.
    """
    path, content = directory / RUN_FILE, read_content(directory, command)
    status = content.get("status")
    if status == running:
        raise RunIncompleteError(f"{path}: the {command} is not complete; run it again to finish it")
    if status != finished:
        raise RunFileError(
            f"{path} does not belong to a {command} (status {status!r}); "
            f"give the --out directory of `flashbulb {written_by}`"
        )
    return content


def _way_out(directory: Path, command: str) -> str:
    if command != "audit":
        return f"give the --out directory of the {command}"
    return f"run `flashbulb audit --out {directory}` first, or give the --out directory of the audit"


def validate_record(adapter: TypeAdapter[Record], path: Path, content: Mapping[str, Any], command: str) -> Record:
    """Build the record that the JSON object `content` of `path` describes.

    Raises:
        RunIncompleteError: naming the first field that is missing or wrong.
    """
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the record"
        raise RunIncompleteError(f"{path}: {where}: {first['msg'].lower()}; run the {command} again") from error


def _parse(path: Path, command: str) -> dict[str, Any]:
    try:
        content = json.loads(
            path.read_bytes(),
            object_pairs_hook=refuse_repeated_keys,
            parse_float=_finite_float,
            parse_constant=_finite_float,
        )
    except (ValueError, RecursionError) as error:  # torn, not UTF-8, or nothing that flashbulb writes
        raise RunIncompleteError(f"{path} is not valid JSON ({error}); run the {command} again") from error
    if not isinstance(content, dict):
        found = type(content).__name__
        raise RunIncompleteError(f"{path} should hold an object, found {found}; run the {command} again")
    return content


def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; the `object_pairs_hook` of json.loads.

    Raises:
        RepeatedKeyError: it has a key twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return content


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number
