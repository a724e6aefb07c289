"""Read CSV, JSON and Parquet files into columns and records; errors name the file and the line or record."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_DELIMITERS = (",", ";", "\t")
_NO_DELIMITER = "\0"  # decode_text refuses it in every file
_NEWLINE = re.compile(r"\r\n|\r|\n")  # str.splitlines would also cut at U+2028, form feeds and others
_KINDS: dict[type, str] = {
    type(None): "null",
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


class PromptFileError(ValueError):
    """A prompt file that cannot be used as it is; the message says what is wrong, where, and how to repair it."""


class Record(NamedTuple):
    """The cells of a record by column, and the line or record number at which it starts, counted from 1."""

    number: int
    cells: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file, and its records, which are parsed while they are iterated.

    Args:
        unit: what the numbers of the records count, "line" or "record".
    """

    columns: Sequence[str]
    unit: str
    records: Iterator[Record]


def decode_text(data: bytes, source: str) -> str:
    """Decode UTF-8 with or without a byte order mark.

    Raises:
        PromptFileError: a NUL byte or another encoding, with the byte offset.
    """
    try:
        text = data.decode("utf-8")
        offset, what = data.find(b"\0"), "NUL byte"
    except UnicodeDecodeError as error:
        text, offset, what = "", error.start, "invalid UTF-8"
    if offset >= 0:
        line = data.count(b"\n", 0, offset) + 1
        raise PromptFileError(f"{source}, line {line}: {what} at byte offset {offset}; {_repair(data)}")
    return text.removeprefix("\ufeff")


def _repair(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "this looks like UTF-16: save it as UTF-8"
    if data.startswith(b"\x1f\x8b"):
        return "this looks like gzip: add .gz to its name"
    if data.startswith(b"PAR1"):
        return "this looks like Parquet: rename the file to .parquet"
    if data.startswith(b"PK\x03\x04"):
        return "this looks like a zip archive or a spreadsheet: unpack it or export it as CSV"
    return "save it as UTF-8 text"


def split_lines(text: str) -> list[str]:
    """Split at \\n, \\r\\n and \\r; the end of the last line starts no other."""
    lines = _NEWLINE.split(text)
    return lines if lines[-1] else lines[:-1]


def kind_name(value: object) -> str:
    """Name the type of a JSON value or of a Parquet cell, with its article."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def read_csv(text: str, source: str, is_header: Callable[[Sequence[str]], bool]) -> Table:
    """Read a table with a header, separated by commas, semicolons or tabs; blank text has neither.

    Args:
        is_header: whether columns are those of the header; decides which delimiter the table has.

    Raises:
        PromptFileError: no delimiter gives a header; while the records are iterated, broken quotes or more cells
            than columns.
    """
    if not text.strip():
        return Table([], "line", iter(()))
    delimiter, columns = _choose_delimiter(text, source, is_header)
    return Table(columns, "line", _csv_records(text, source, delimiter, columns))


def _choose_delimiter(text: str, source: str, is_header: Callable[[Sequence[str]], bool]) -> tuple[str, list[str]]:
    """Choose the delimiter whose header satisfies `is_header`, else the one with the most columns."""
    headers: dict[str, list[str]] = {}
    refusal = PromptFileError(f"{source}: no header; name the columns in the first line")
    for delimiter in _DELIMITERS:
        try:
            headers[delimiter] = next(_csv_rows(text, source, delimiter), (0, []))[1]
        except PromptFileError as error:
            refusal = error
    if not any(headers.values()):
        raise refusal
    best = max(headers, key=lambda d: (is_header(headers[d]), len(headers[d])))
    # A table of one column has no delimiter: commas in its cells are text, quoted or not.
    return _NO_DELIMITER if len(headers[best]) == 1 else best, headers[best]


def _csv_records(text: str, source: str, delimiter: str, columns: list[str]) -> Iterator[Record]:
    rows = _csv_rows(text, source, delimiter)
    next(rows)
    for line, cells in rows:
        if any(cells[len(columns) :]):
            raise PromptFileError(
                f"{source}, line {line}: {len(cells)} cells under {len(columns)} columns; "
                f"quote the cell that holds {delimiter!r}"
            )
        yield Record(line, dict(zip(columns, cells, strict=False)))


def _csv_rows(text: str, source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row starts, and its cells; blank lines are skipped."""
    # Lines end at "\n" alone, so that a stray "\r" outside quotes is refused and does not start a row.
    lines = io.StringIO(text, newline="\n" if "\n" in text else "\r")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            with _field_size_limit(len(text)):
                cells = next(reader, None)
        except csv.Error as error:
            raise PromptFileError(
                f"{source}, line {line}: a quoted cell has no end, text follows its closing quote, or a line break "
                "is unquoted; quote such cells and double the quotes inside"
            ) from error
        if cells is None:
            return
        if cells:
            yield line, cells


@contextmanager
def _field_size_limit(n_characters: int) -> Iterator[None]:
    """Raise the csv module's process-wide limit of 131072 characters a cell, if need be, while open."""
    previous = csv.field_size_limit()
    csv.field_size_limit(max(previous, n_characters))
    try:
        yield
    finally:
        csv.field_size_limit(previous)


def read_json_lines(text: str, source: str) -> list[tuple[int, object]]:
    """Read the JSON value of every line that is not blank, with its line number."""
    values: list[tuple[int, object]] = []
    for number, line in enumerate(split_lines(text), start=1):
        if line.strip():
            try:
                values.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise PromptFileError(
                    f"{source}, line {number}: broken JSON ({error}); write one JSON object a line"
                ) from error
    return values


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


def read_parquet(path: str, choose: Callable[[pa.Schema], Sequence[str]]) -> Table:
    """Read the columns of a Parquet file that `choose` names, batch by batch, and no others.

    Raises:
        OSError: there is no such file.
        PromptFileError: the file is damaged; while the records are iterated also invalid UTF-8.
    """
    Path(path).stat()  # so that a missing file is reported as missing
    with _parquet_errors(path):
        schema = pq.read_schema(path)
    return Table(schema.names, "record", _parquet_records(path, list(choose(schema))))


def _parquet_records(path: str, columns: list[str]) -> Iterator[Record]:
    number = 0
    with _parquet_errors(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):
            rows, error = _valid_rows(batch)
            for row in rows:
                number += 1
                yield Record(number, row)
            if error is not None:
                raise PromptFileError(
                    f"{path}, record {number + 1}: invalid UTF-8; write the texts as UTF-8"
                ) from error


def _valid_rows(batch: pa.RecordBatch) -> tuple[list[dict[str, object]], UnicodeDecodeError | None]:
    """Return the rows before the first with invalid UTF-8, and its error; None if all are valid."""
    rows: list[dict[str, object]] = []
    try:
        return batch.to_pylist(), None  # row by row takes twice as long
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                rows += batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                return rows, error
    return rows, None


@contextmanager
def _parquet_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = next(iter(str(error).splitlines()), "unreadable")
        raise PromptFileError(f"{path}: broken Parquet ({reason}); write the file again") from error
