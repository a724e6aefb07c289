"""Take the prompts out of each file format: every line of a text file, else one column of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from flashbulb.audit.prompts.tables import (
    PromptFileError,
    Table,
    kind_name,
    read_csv,
    read_json_lines,
    read_parquet,
    split_lines,
    table_of_objects,
)

TEXT_COLUMNS = ("prompt", "text", "caption")
"""Columns that hold prompts, in any case."""

_N_COLUMNS_LISTED = 12
_PARQUET_TEXT = ("string", "large_string", "string_view", "null")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it starts (line or record, from 1) and its text as written, None if missing."""

    source_file: str
    source_row: int
    text: str | None


@dataclass(frozen=True, slots=True)
class TextColumn:
    """The texts of one prompt file, and the column that holds them; None if the format has no columns."""

    name: str | None
    rows: list[Row]


def detect_suffix(text: str, text_column: str | None) -> str:
    """Return the file suffix that fits a text without a file name: .json, .jsonl, .csv or .txt.

    The opening of a JSON list or object decides by itself: broken JSON is reported, not read as prompts.
    """
    head = text.lstrip()
    if re.match(r'\[\s*(["{\]]|null\b)', head):
        return ".json"
    if re.match(r'\{\s*["}]', head):
        return ".jsonl"
    if _has_text_column(text, text_column):
        return ".csv"
    return ".jsonl" if head and all(map(_is_json_string, filter(str.strip, split_lines(text)))) else ".txt"


def _has_text_column(text: str, text_column: str | None) -> bool:
    try:
        return bool(_text_columns(_read_csv(text, "", text_column).columns, text_column))
    except PromptFileError:
        return False


def _is_json_string(line: str) -> bool:
    try:
        return isinstance(json.loads(line), str)
    except (ValueError, RecursionError):
        return False


def choose_column(columns: Sequence[str], text_column: str | None, source: str) -> str:
    """Return the named column, else the only one called prompt, text or caption in any case.

    Raises:
        PromptFileError: there is no such column, or more than one.
    """
    names = _text_columns(columns, text_column)
    if len(names) == 1:
        return names[0]
    if len(set(names)) == 1:
        raise PromptFileError(f"{source}: {len(names)} columns are named {names[0]!r}; rename all but one")
    if names:
        raise PromptFileError(
            f"{source}: columns {' and '.join(map(repr, names))} may each hold the prompts; "
            "choose one with --text-column"
        )
    wanted = "prompt, text or caption" if text_column is None else repr(text_column)
    raise PromptFileError(
        f"{source}: no column {wanted} among {listed(columns)}; choose one of these with --text-column"
    )


def _text_columns(columns: Sequence[str], text_column: str | None) -> list[str]:
    if text_column is None:
        return columns_named(columns, TEXT_COLUMNS)
    return [name for name in columns if name == text_column]


def columns_named(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns with one of these lower-case names, whatever their own case and outer spaces."""
    return [column for column in columns if column.strip().lower() in names]


def listed(columns: Sequence[str]) -> str:
    """List the first columns for an error message, with long names cut."""
    names = [repr(name if len(name) <= 60 else name[:57] + "...") for name in columns[:_N_COLUMNS_LISTED]]
    n_more = len(columns) - len(names)
    return (", ".join(names) or "none") + (f" and {n_more} more" if n_more else "")


def text_or_none(value: object, source: str, where: str) -> str | None:
    """Return a cell that holds text; None for a missing one, be it null or NaN, which pandas and others write.

    Raises:
        PromptFileError: the cell holds something else.
    """
    if value is None or isinstance(value, str):
        return value
    if value != value:  # NaN
        return None
    raise PromptFileError(f"{source}, {where}: {kind_name(value)}, not a text; write it as a string or null")


def parse_txt(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take every line as a prompt."""
    _refuse_text_column(text_column, source)
    return TextColumn(None, [Row(source, number, line) for number, line in enumerate(split_lines(text), start=1)])


def _refuse_text_column(text_column: str | None, source: str) -> None:
    if text_column is not None:
        raise PromptFileError(f"{source}: it has no columns, so no {text_column!r}; drop --text-column")


def parse_csv(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take one column of a table with a header, separated by commas, semicolons or tabs."""
    table = _read_csv(text, source, text_column)
    return _text_column(table, source, text_column) if table.columns else TextColumn(None, [])


def _read_csv(text: str, source: str, text_column: str | None) -> Table:
    return read_csv(text, source, lambda columns: bool(_text_columns(columns, text_column)))


def parse_jsonl(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take one JSON object, or one JSON string, from every line that is not blank."""
    return _json_column(read_json_lines(text, source), source, "line", text_column)


def parse_json(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take the items of a JSON list of strings or of objects."""
    if not text.strip():
        return TextColumn(None, [])
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptFileError(
            f"{source}: broken JSON ({error}); if it has one object a line, name it .jsonl"
        ) from error
    if not isinstance(values, list):
        raise PromptFileError(f"{source}: holds {kind_name(values)}, not a list; write a list of strings or of objects")
    return _json_column(list(enumerate(values, start=1)), source, "record", text_column)


def _json_column(values: Sequence[tuple[int, object]], source: str, unit: str, text_column: str | None) -> TextColumn:
    first = next((value for _, value in values if value is not None), None)
    if isinstance(first, str):
        _refuse_text_column(text_column, source)
    if first is None or isinstance(first, str):
        return TextColumn(None, [Row(source, n, text_or_none(value, source, f"{unit} {n}")) for n, value in values])
    return _text_column(table_of_objects(values, source, unit), source, text_column)


def parse_parquet(path: str, text_column: str | None) -> TextColumn:
    """Take one column of strings from a Parquet file."""

    def choose(schema: pa.Schema) -> list[str]:
        name = choose_column(schema.names, text_column, path)
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if str(kind) not in _PARQUET_TEXT:
            raise PromptFileError(
                f"{path}: column {name!r} holds {kind}, not text; store strings or choose --text-column"
            )
        return [name]

    return _text_column(read_parquet(path, choose), path, text_column)


def _text_column(table: Table, source: str, text_column: str | None) -> TextColumn:
    name = choose_column(table.columns, text_column, source)
    rows = [
        Row(source, number, text_or_none(cells.get(name), source, f"{table.unit} {number}, {name!r}"))
        for number, cells in table.records
    ]
    return TextColumn(name, rows)
