"""Split delimited text into rows of cells, with quotation marks as syntax or as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from flashbulb.audit.prompts.formats.errors import PromptFileError, check_n_rows

NO_DELIMITER = "\0"
"""Delimiter of a table with one column; no text holds it."""

_NEWLINE = re.compile(r"\r\n|\r|\n")  # str.splitlines would also cut at U+2028, form feeds and others
_ROWS_AT_ONCE = 1000


class CsvRow(NamedTuple):
    """The cells of a row, and the lines on which it starts and ends, counted from 1."""

    line: int
    last_line: int
    cells: list[str]


def split_lines(text: str, source: str) -> list[str]:
    """Split at \\n, \\r\\n and \\r; the end of the last line starts no other.

    Raises:
        PromptFileError: there are more than MOST_ROWS lines.
    """
    check_n_rows(text.count("\n") or text.count("\r"), source)
    if "\r" in text:
        check_n_rows(text.count("\r"), source)
        lines = _NEWLINE.split(text)
    else:
        lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def newline_of(text: str) -> str:
    """Return the character that ends lines: a lone "\\r" does only if there is no "\\n"."""
    return "\n" if "\n" in text else "\r"


def csv_rows(text: str, source: str, delimiter: str, *, quotes_are_text: bool = False) -> Iterator[CsvRow]:
    """Yield the rows; blank lines are skipped.

    Raises:
        PromptFileError: broken quotes, or a line break that is neither quoted nor the end of a line.
    """
    # Lines end at "\n" alone, so that a stray "\r" outside quotes is refused and does not start a row.
    lines = io.StringIO(text, newline=newline_of(text))
    quoting: Literal[0, 3] = csv.QUOTE_NONE if quotes_are_text else csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=True)
    is_last = False
    while not is_last:
        rows: list[CsvRow] = []
        error: csv.Error | None = None
        line = 1
        with _field_size_limit(len(text)):
            try:
                for _ in range(_ROWS_AT_ONCE):
                    line = reader.line_num + 1
                    cells = next(reader)
                    if cells:
                        rows.append(CsvRow(line, reader.line_num, cells))
            except StopIteration:
                is_last = True
            except csv.Error as broken:
                error = broken
        yield from rows
        if error is not None:
            raise PromptFileError(f"{source}, line {line}: {_why_broken(delimiter, quotes_are_text)}") from error


def _why_broken(delimiter: str, quotes_are_text: bool) -> str:
    if quotes_are_text:
        return "a line break (\\r) inside a cell; remove it"
    advice = "quote such cells and double the quotes inside"
    if delimiter == NO_DELIMITER:
        advice += ", or name the file .txt to take every line as it is, and remove its header"
    return f"a quoted cell has no end, text follows its closing quote, or a line break is unquoted; {advice}"


@contextmanager
def _field_size_limit(n_characters: int) -> Iterator[None]:
    """Raise the csv module's process-wide limit of 131072 characters a cell, if need be, while open."""
    previous = csv.field_size_limit()
    csv.field_size_limit(max(previous, n_characters))
    try:
        yield
    finally:
        csv.field_size_limit(previous)
