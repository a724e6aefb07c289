"""Take the prompts out of each file format: every line of a text file, else one column of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from flashbulb.audit.prompts.formats.arrow_tables import ChooseColumns, is_text, read_arrow, read_parquet
from flashbulb.audit.prompts.formats.columns import candidates, choose_column, listed
from flashbulb.audit.prompts.formats.csv_rows import split_lines
from flashbulb.audit.prompts.formats.csv_tables import read_csv
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.formats.json_tables import (
    BROKEN_JSON,
    captions_of_object,
    read_json,
    read_json_lines,
    table_of_objects,
)
from flashbulb.audit.prompts.formats.lookalikes import refuse_missing_header, refuse_other_format
from flashbulb.audit.prompts.formats.quotes import check_cut
from flashbulb.audit.prompts.formats.tables import Table, kind_name

_LONGEST_TYPE = 60
_LIST = re.compile(r"""\s*\[\s*["'].*["']\s*\]\s*""", re.DOTALL)


class Row(NamedTuple):
    """One text: the line or record from 1 that holds it, and the text as written, None if missing."""

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
    lines = split_lines(text, "standard input")
    return ".jsonl" if head and all(map(_is_json_string, filter(str.strip, lines))) else ".txt"


def _has_text_column(text: str, text_column: str | None) -> bool:
    try:
        return bool(candidates(_read_csv(text, "", text_column).columns, text_column))
    except PromptFileError:
        return False


def _is_json_string(line: str) -> bool:
    try:
        return isinstance(json.loads(line), str)
    except BROKEN_JSON:
        return False


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
    refuse_other_format(split_lines(text, source), source, text_column)
    return parse_sidecar(text, source, text_column)


def parse_sidecar(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take every line of the text file beside an image, whatever it looks like."""
    _refuse_text_column(text_column, source)
    lines = split_lines(text, source)
    return TextColumn(None, [Row(source, number, line) for number, line in enumerate(lines, start=1)])


def _refuse_text_column(text_column: str | None, source: str) -> None:
    if text_column is not None:
        raise PromptFileError(f"{source}: it has no columns, so no {text_column!r}; drop --text-column")


def parse_csv(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take one column of a table with a header, separated by commas, semicolons, tabs or pipes."""
    table = _read_csv(text, source, text_column)
    if not table.columns:
        return TextColumn(None, [])
    if text_column is None:
        refuse_missing_header(table, source)
    column = _text_column(table, source, text_column)
    if column.name is not None:
        numbers = (row.source_row for row in column.rows)
        check_cut(text, source, table.delimiter, list(table.columns).index(column.name), numbers)
    return _unfolded(column, source)


def _read_csv(text: str, source: str, text_column: str | None) -> Table:
    return read_csv(text, source, lambda columns: bool(candidates(columns, text_column)))


def _unfolded(column: TextColumn, source: str) -> TextColumn:
    """Take the strings out of a column whose cells are all lists of strings, as JSON writes them."""
    cells = [row for row in column.rows if (row.text or "").strip()]
    if not cells or not all(_LIST.fullmatch(row.text or "") for row in cells):
        return column
    rows: list[Row] = []
    for row in column.rows:
        if not (row.text or "").strip():
            rows.append(row)
            continue
        try:
            texts = json.loads(row.text or "")
        except BROKEN_JSON as error:
            raise PromptFileError(
                f"{source}, line {row.source_row}: a list of captions that is not JSON ({error}); write its strings "
                "between double quotation marks, with commas between them"
            ) from error
        rows += _rows_of(texts, source, row.source_row, "line", column.name)
    return TextColumn(column.name, rows)


def parse_jsonl(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take one JSON object, string or list of strings from every line that is not blank."""
    values = read_json_lines(text, source)
    only = values[0][1] if len(values) == 1 else None
    is_record = isinstance(only, dict) and (
        candidates(list(only), text_column) or not captions_of_object(only, text_column)
    )
    if isinstance(only, dict | list) and not is_record:
        return _json_file(only, source, text_column)
    return _json_column(values, source, "line", text_column)


def parse_json(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take the items of a JSON list of strings, lists of strings or objects, or of such a list inside an object."""
    return _json_file(read_json(text, source), source, text_column) if text.strip() else TextColumn(None, [])


def _json_file(value: object, source: str, text_column: str | None) -> TextColumn:
    items = captions_of_object(value, text_column) if isinstance(value, dict) else value
    if not isinstance(items, list):
        found = f"{kind_name(value)}, not a list"
        if isinstance(value, dict):
            found += f", and no list of captions under {listed(list(value))}"
        raise PromptFileError(f"{source}: holds {found}; write a list of strings or of objects")
    return _json_column(list(enumerate(items, start=1)), source, "record", text_column)


def _json_column(values: Sequence[tuple[int, object]], source: str, unit: str, text_column: str | None) -> TextColumn:
    first = next((value for _, value in values if value is not None), None)
    if isinstance(first, dict):
        return _text_column(table_of_objects(values, source, unit), source, text_column)
    if first is not None:
        _refuse_text_column(text_column, source)
    return TextColumn(None, [row for number, value in values for row in _rows_of(value, source, number, unit, None)])


def parse_parquet(path: str, text_column: str | None) -> TextColumn:
    """Take one column of strings, or of lists of strings, from a Parquet file."""
    return _text_column(read_parquet(path, _chooser(path, text_column)), path, text_column)


def parse_arrow(path: str, text_column: str | None) -> TextColumn:
    """Take one column of strings, or of lists of strings, from an Arrow file or stream."""
    return _text_column(read_arrow(path, _chooser(path, text_column)), path, text_column)


def _chooser(path: str, text_column: str | None) -> ChooseColumns:
    def choose(schema: pa.Schema) -> list[str]:
        name = choose_column(schema.names, text_column, path)
        kind = schema.field(name).type
        if not is_text(kind):
            shown = str(kind)
            shown = shown if len(shown) <= _LONGEST_TYPE else shown[: _LONGEST_TYPE - 3] + "..."
            raise PromptFileError(
                f"{path}: column {name!r} holds {shown}, not text; store strings or choose --text-column"
            )
        return [name]

    return choose


def _text_column(table: Table, source: str, text_column: str | None) -> TextColumn:
    name = choose_column(table.columns, text_column, source)
    rows: list[Row] = []
    for number, cells in table.records:
        value = cells.get(name)
        if isinstance(value, str):
            rows.append(Row(source, number, value))
        else:
            rows += _rows_of(value, source, number, table.unit, name)
    return TextColumn(name, rows)


def _rows_of(value: object, source: str, number: int, unit: str, name: str | None) -> list[Row]:
    """Return a row for a text, for a missing one, or for each text of a list."""
    where = f"{unit} {number}" if name is None else f"{unit} {number}, {name!r}"
    values = (value or [None]) if isinstance(value, list) else [value]
    return [Row(source, number, text_or_none(item, source, where)) for item in values]
