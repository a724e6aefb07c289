"""Parse the text formats of prompt files (txt, JSON lines, JSON, CSV) into one column of texts."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

TEXT_COLUMNS = ("prompt", "text", "caption")  # recognised in any case
_DELIMITERS = (",", ";", "\t")
_NEWLINE = re.compile(r"\r\n|\r|\n")  # str.splitlines would also cut at U+2028, form feeds and others
_N_COLUMNS_LISTED = 12


class PromptFileError(ValueError):
    """A prompt file that cannot be read as it is; the message says what, where and the way out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One data row: where it starts (1-based line or record) and its text as written, None where missing."""

    source_file: str
    source_row: int
    text: str | None


@dataclass(frozen=True, slots=True)
class TextColumn:
    """The texts of one prompt file and the column they came from, None where the format has no columns."""

    name: str | None
    rows: list[Row]


def detect_suffix(text: str, text_column: str | None) -> str:
    """Return the file suffix under which nameless `text` is best read: .json, .jsonl, .csv or .txt.

    The opening of a JSON list or object decides by itself: broken JSON is reported, not taken for prompts.
    """
    head = text.lstrip()
    if re.match(r'\[\s*(["{\]]|null\b)', head):
        return ".json"
    if re.match(r'\{\s*["}]', head):
        return ".jsonl"
    if _has_text_column(text, text_column):
        return ".csv"
    return ".jsonl" if head and all(map(_is_json_string, filter(str.strip, _lines(text)))) else ".txt"


def _has_text_column(text: str, text_column: str | None) -> bool:
    try:
        return bool(_text_positions(_csv_header(text, "", text_column)[1], text_column))
    except PromptFileError:
        return False


def _is_json_string(line: str) -> bool:
    try:
        return isinstance(json.loads(line), str)
    except (ValueError, RecursionError):
        return False


def choose_column(columns: Sequence[str], text_column: str | None, source: str) -> int:
    """Return the position of the named column, else of the only prompt, text or caption in any case."""
    positions = _text_positions(columns, text_column)
    if len(positions) == 1:
        return positions[0]
    if positions:
        names = [columns[i] for i in positions]
        if len(set(names)) == 1:
            raise PromptFileError(f"{source}: {len(names)} columns are named {names[0]!r}; rename all but one")
        raise PromptFileError(
            f"{source}: columns {' and '.join(map(repr, names))} may each hold the prompts; "
            "choose one with --text-column"
        )
    wanted = "prompt, text or caption" if text_column is None else repr(text_column)
    raise PromptFileError(
        f"{source}: no column {wanted} among {_listed(columns)}; choose one of these with --text-column"
    )


def _text_positions(columns: Sequence[str], text_column: str | None) -> list[int]:
    if text_column is not None:
        return [i for i, name in enumerate(columns) if name == text_column]
    return [i for i, name in enumerate(columns) if name.strip().lower() in TEXT_COLUMNS]


def _listed(columns: Sequence[str]) -> str:
    names = [repr(name if len(name) <= 60 else name[:57] + "...") for name in columns[:_N_COLUMNS_LISTED]]
    n_more = len(columns) - len(names)
    return (", ".join(names) or "none") + (f" and {n_more} more" if n_more else "")


def parse_txt(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take every line as a prompt."""
    _refuse_text_column(text_column, source)
    return TextColumn(None, [Row(source, number, line) for number, line in enumerate(_lines(text), start=1)])


def _lines(text: str) -> list[str]:
    lines = _NEWLINE.split(text)
    return lines if lines[-1] else lines[:-1]


def _refuse_text_column(text_column: str | None, source: str) -> None:
    if text_column is not None:
        raise PromptFileError(f"{source}: it has no columns, so no {text_column!r}; drop --text-column")


def parse_jsonl(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take one JSON object, or one JSON string, from every line that is not blank."""
    values: list[tuple[int, object]] = []
    for number, line in enumerate(_lines(text), start=1):
        if line.strip():
            try:
                values.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise PromptFileError(
                    f"{source}, line {number}: broken JSON ({error}); write one JSON object a line"
                ) from error
    return _json_column(values, source, "line", text_column)


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
        raise PromptFileError(f"{source}: holds {_kind(values)}, not a list; write a list of strings or of objects")
    return _json_column(list(enumerate(values, start=1)), source, "record", text_column)


def _json_column(values: list[tuple[int, object]], source: str, unit: str, text_column: str | None) -> TextColumn:
    first = next((value for _, value in values if value is not None), None)
    if first is None or isinstance(first, str):
        if first is not None:
            _refuse_text_column(text_column, source)
        return TextColumn(None, [Row(source, n, _json_text(value, source, f"{unit} {n}")) for n, value in values])
    objects: list[tuple[int, dict[str, object]]] = []
    for n, value in values:
        if not isinstance(value, dict):
            raise PromptFileError(
                f"{source}, {unit} {n}: {_kind(value)}, not an object; write all as objects or all as strings"
            )
        objects.append((n, value))
    columns = list(dict.fromkeys(key for _, item in objects for key in item))
    name = columns[choose_column(columns, text_column, source)]
    texts = [(n, _json_text(item.get(name), source, f"{unit} {n}, {name!r}")) for n, item in objects]
    return TextColumn(name, [Row(source, n, text) for n, text in texts])


def _json_text(value: object, source: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if value != value:  # NaN, which pandas and others write for a missing text
        return None
    raise PromptFileError(f"{source}, {where}: {_kind(value)}, not a text; write it as a string or null")


def _kind(value: object) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a truth value"}
    return "null" if value is None else kinds.get(type(value), "a number")


def parse_csv(text: str, source: str, text_column: str | None) -> TextColumn:
    """Take one column of a table with a header, separated by commas, semicolons or tabs."""
    if not text.strip():
        return TextColumn(None, [])
    delimiter, columns = _csv_header(text, source, text_column)
    position = choose_column(columns, text_column, source)
    records = _csv_records(text, source, delimiter)
    next(records)
    rows: list[Row] = []
    for line, cells in records:
        if any(cells[len(columns) :]):
            raise PromptFileError(
                f"{source}, line {line}: {len(cells)} cells under {len(columns)} columns; "
                f"quote the cell that holds {delimiter!r}"
            )
        rows.append(Row(source, line, cells[position] if position < len(cells) else None))
    return TextColumn(columns[position], rows)


def _csv_header(text: str, source: str, text_column: str | None) -> tuple[str, list[str]]:
    """Choose the delimiter by which the header has the text column, else the most columns."""
    headers: dict[str, list[str]] = {}
    refusal = PromptFileError(f"{source}: no header; name the columns in the first line")
    for delimiter in _DELIMITERS:
        try:
            headers[delimiter] = next(_csv_records(text, source, delimiter), (0, []))[1]
        except PromptFileError as error:
            refusal = error
    if not any(headers.values()):
        raise refusal
    best = max(headers, key=lambda d: (bool(_text_positions(headers[d], text_column)), len(headers[d])))
    # One column has no delimiter: commas in its cells are text, quoted or not. NUL is refused in every file.
    return "\0" if len(headers[best]) == 1 else best, headers[best]


def _csv_records(text: str, source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each record starts and its cells; blank lines are no records."""
    # Lines end at "\n" alone, so that a stray "\r" outside quotes is refused and does not start a record.
    lines = io.StringIO(text, newline="\n" if "\n" in text else "\r")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            with _field_size_limit(len(text)):
                cells = next(reader, None)
        except csv.Error as error:
            raise PromptFileError(
                f"{source}, line {line}: a quoted cell has no end or goes on after it, or a line break is "
                "unquoted; quote such cells and double the quotes inside"
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
