"""Read JSON and JSON lines, and take their objects as the records of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from flashbulb.audit.prompts.formats.columns import candidates
from flashbulb.audit.prompts.formats.csv_rows import split_lines
from flashbulb.audit.prompts.formats.errors import MOST_ROWS, PromptFileError
from flashbulb.audit.prompts.formats.tables import Record, Table, kind_name
from flashbulb.reports.tables.record_files import RepeatedKeyError, refuse_repeated_keys

_MOST_COMMAS = 5 * MOST_ROWS
"""Each value of a list needs a comma, and up to a hundred bytes of memory."""

BROKEN_JSON = (ValueError, RecursionError)
"""Errors of json.loads; the second is raised by lists in lists in lists, thousands deep."""


def read_json(text: str, source: str) -> object:
    """Read the one JSON value of a file.

    Raises:
        PromptFileError: it is broken, or has so many values that they could exhaust the memory.
    """
    if text.count(",") > _MOST_COMMAS:
        raise PromptFileError(f"{source}: more than {_MOST_COMMAS:,} values; split the file or draw a sample")
    try:
        return json.loads(text, object_pairs_hook=refuse_repeated_keys)
    except RepeatedKeyError as error:
        raise PromptFileError(f"{source}: {_repeated(error.key)}") from error
    except BROKEN_JSON as error:
        raise PromptFileError(
            f"{source}: broken JSON ({error}); if it has one object a line, name it .jsonl"
        ) from error


def read_json_lines(text: str, source: str) -> list[tuple[int, object]]:
    """Read the JSON value of every line that is not blank, with its line number.

    Raises:
        PromptFileError: a line is broken.
    """
    values: list[tuple[int, object]] = []
    for number, line in enumerate(split_lines(text, source), start=1):
        if line.strip():
            try:
                values.append((number, json.loads(line, object_pairs_hook=refuse_repeated_keys)))
            except RepeatedKeyError as error:
                raise PromptFileError(f"{source}, line {number}: {_repeated(error.key)}") from error
            except BROKEN_JSON as error:
                advice = (
                    "name it .json, since it is one JSON value" if is_json(text) else "write one JSON object a line"
                )
                raise PromptFileError(f"{source}, line {number}: broken JSON ({error}); {advice}") from error
    return values


def _repeated(key: str) -> str:
    return f"an object has {key!r} twice; keep one, or write a list of both"


def is_json(text: str) -> bool:
    """Return True if the text is one JSON value."""
    try:
        json.loads(text)
    except BROKEN_JSON:
        return False
    return True


def table_of_objects(values: Sequence[tuple[int, object]], source: str, unit: str) -> Table:
    """Take JSON objects as records, with every key of any of them as a column.

    Raises:
        PromptFileError: a value is no object.
    """
    records: list[Record] = []
    for number, value in values:
        if not isinstance(value, dict):
            raise PromptFileError(
                f"{source}, {unit} {number}: {kind_name(value)}, not an object; write every {unit} as a JSON object"
            )
        records.append(Record(number, value))
    columns = list(dict.fromkeys(key for record in records for key in record.cells))
    return Table(columns, unit, iter(records))


def captions_of_object(value: Mapping[str, object], text_column: str | None) -> list[object] | None:
    """Return the one list of captions inside an object; None if there is none or more than one.

    It is a list of objects with a column for prompts, such as the `annotations` of COCO, or a list of strings under the
    name of such a column.
    """
    found = [
        items for name, items in value.items() if isinstance(items, list) and _holds_captions(name, items, text_column)
    ]
    return found[0] if len(found) == 1 else None


def _holds_captions(name: str, items: list[object], text_column: str | None) -> bool:
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) == len(items) > 0:
        return bool(candidates(list(dict.fromkeys(key for item in objects for key in item)), text_column))
    return bool(candidates([name], text_column)) and all(isinstance(item, str) for item in items)
