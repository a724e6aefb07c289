"""Tell by the rows of a table whether its quotation marks are syntax or text, and find cells that swallow rows.

Spreadsheets put a cell that holds a separator, a quotation mark or a line break between quotation marks, and double
those inside. Large dumps of captions, such as Conceptual Captions, separate by tabs and write captions as they are:
read as syntax, a caption that begins with a quotation mark swallows every row up to the next mark at a cell's end.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from flashbulb.audit.prompts.formats.cell_kinds import kind_of
from flashbulb.audit.prompts.formats.csv_rows import CsvRow, csv_rows, newline_of
from flashbulb.audit.prompts.formats.errors import PromptFileError

_RARE_IN_TEXT = ("\t", "|")
"""Delimiters that captions hardly hold, so that dumps need no quotes. Commas and semicolons always need them."""


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


class _Lines(NamedTuple):
    """What the lines of a table are as rows.

    Args:
        n_rows: lines that are not blank.
        n_short: those that lack cells.
        misfit: the first line that is no row; None if all are.
        are_closed: every cell that begins with a mark is well quoted, so that marks as syntax give the same rows.
    """

    n_rows: int
    n_short: int
    misfit: int | None
    are_closed: bool


def rows_by_evidence(text: str, source: str, delimiter: str, n_columns: int) -> Iterator[CsvRow]:
    """Yield the rows of a table, the header among them, with its quotation marks as text or as syntax.

    They are text, so that every line is a row, if captions hardly hold the delimiter, every line has its cells, and
    reading the marks as syntax fails, merges rows, or finds cells between marks that no writer would have put there.
    Otherwise they are syntax.

    Raises:
        PromptFileError: broken quotes, or evidence for both readings.
    """
    if delimiter not in _RARE_IN_TEXT or not re.search(rf'[\n\r{re.escape(delimiter)}] *"', text):
        return csv_rows(text, source, delimiter)
    header = next(csv_rows(text, source, delimiter, quotes_are_text=True))
    if any(cell.startswith('"') for cell in header.cells):
        return csv_rows(text, source, delimiter)
    lines = _examine_lines(text, delimiter, n_columns)
    if lines.misfit is not None:
        return _rows_or_hint(csv_rows(text, source, delimiter), lines.misfit)
    if _is_syntax(lines, text, source, delimiter, n_columns):
        return csv_rows(text, source, delimiter)
    return csv_rows(text, source, delimiter, quotes_are_text=True)


def _rows_or_hint(rows: Iterator[CsvRow], misfit: int) -> Iterator[CsvRow]:
    try:
        yield from rows
    except PromptFileError as error:
        raise PromptFileError(f"{error}; or, if quotation marks are text, repair line {misfit}") from error


def _is_syntax(lines: _Lines, text: str, source: str, delimiter: str, n_columns: int) -> bool:
    if lines.are_closed:
        return _follow_a_rule(csv_rows(text, source, delimiter, quotes_are_text=True))
    n_rows, n_short, first_merged = 0, 0, None
    try:
        for row in csv_rows(text, source, delimiter):
            n_rows += 1
            n_short += len(row.cells) < n_columns
            check_n_cells(row, n_columns, source, delimiter)
            if first_merged is None and (row.last_line > row.line or len(row.cells) < n_columns):
                first_merged = row.line
    except PromptFileError:
        return False
    if (n_rows, n_short) == (lines.n_rows, lines.n_short):
        return _follow_a_rule(csv_rows(text, source, delimiter, quotes_are_text=True))
    if '""' in text and first_merged is not None:
        raise _ambiguous(source, first_merged, delimiter)
    return False


def check_n_cells(row: CsvRow, n_columns: int, source: str, delimiter: str) -> None:
    """Refuse a row with more cells than columns, unless the others are empty."""
    if any(row.cells[n_columns:]):
        raise PromptFileError(
            f"{source}, line {row.line}: {len(row.cells)} cells under {n_columns} columns; "
            f"quote the cell that holds {delimiter!r}"
        )


def _examine_lines(text: str, delimiter: str, n_columns: int) -> _Lines:
    """Take the lines as rows. One that lacks cells and holds marks is none: it may begin or end a longer cell."""
    n_rows, n_short, are_closed = 0, 0, True
    newline = newline_of(text)
    has_returns = newline == "\n" and "\r" in text
    for number, raw in enumerate(text.split(newline), start=1):
        line = raw.removesuffix("\r") if has_returns else raw
        if not line:
            continue
        n_rows += 1
        n_cells = line.count(delimiter) + 1
        n_short += n_cells < n_columns
        has_marks = '"' in line
        if (has_returns and "\r" in line) or (n_cells < n_columns and has_marks):
            return _Lines(n_rows, n_short, number, are_closed)
        if n_cells > n_columns and any(line.split(delimiter)[n_columns:]):
            return _Lines(n_rows, n_short, number, are_closed)
        if has_marks and are_closed:
            cells = (cell.lstrip(" ") for cell in line.split(delimiter))
            are_closed = all(_QUOTED.fullmatch(cell) for cell in cells if cell.startswith('"'))
    return _Lines(n_rows, n_short, None, are_closed)


def _follow_a_rule(lines: Iterable[CsvRow]) -> bool:
    """Whether a writer could have chosen the cells between quotation marks.

    It puts there whole columns, or the cells that hold a certain character, such as a comma; if it doubles the marks
    inside, they are syntax whatever it chooses.
    """
    quoted: dict[int, set[str]] = {}
    plain: dict[int, set[str]] = {}
    for number, (_, _, cells) in enumerate(lines):
        for column, cell in enumerate(cells if number else ()):
            if not (len(cell) > 1 and cell[0] == cell[-1] == '"'):
                plain.setdefault(column, set()).update(cell)
            elif '""' in cell:
                return True
            else:
                marks = {character for character in cell[1:-1] if not character.isalnum()}
                quoted[column] = quoted.get(column, marks) & marks
    return all(not plain.get(column) or marks - plain[column] for column, marks in quoted.items())


def check_swallowed(lines: Sequence[str], row: CsvRow, source: str, delimiter: str, n_columns: int) -> None:
    """Refuse a row of several of the lines of a file if each of them looks like a row.

    Raises:
        PromptFileError: every line has all its cells, and in one column all hold a number, a file name or an address;
            if captions hardly hold the delimiter, every line has all its cells. A row is none of these if all its cells
            are quoted, or all but numbers below a quoted header, since a writer that quotes them quotes by a rule.
    """
    own_lines = lines[row.line - 1 : row.last_line]
    cells = [line.split(delimiter) for line in own_lines]
    if n_columns < 2 or any(len(others) != n_columns for others in cells):
        return
    if delimiter not in _RARE_IN_TEXT:
        if any(cell.startswith(" ") for others in cells for cell in others[1:]):  # as after a comma in a sentence
            return
        if not any(map(kind_of, zip(*cells, strict=True))):
            return
    number = r"|[\d.+-]+" if next(filter(None, lines)).lstrip().startswith('"') else ""
    cell = rf" *(?:{_QUOTED.pattern}{number}) *"
    if not re.fullmatch(rf"{cell}(?:{re.escape(delimiter)}{cell})*\r?", "\n".join(own_lines)):
        raise _ambiguous(source, row.line, delimiter)


def check_cut(text: str, source: str, delimiter: str | None, place: int, lines_of_cells: Iterable[int]) -> None:
    """Refuse a sentence that was cut at an unquoted comma, in a row that lacks its last cells and so has not too many.

    The rest of the sentence stands in the next column, after a space, where other rows have numbers, file names,
    addresses or a few words such as `train`.

    Args:
        place: that of the sentences among the columns.
        lines_of_cells: lines at which rows begin, counted from 1. One with quotation marks is not looked at.
    """
    if delimiter is None or delimiter in _RARE_IN_TEXT or f"{delimiter} " not in text:
        return
    lines = text.split(newline_of(text))
    after_space: dict[str, int] = {}
    others: Counter[str] = Counter()
    for number in lines_of_cells:
        cells = lines[number - 1].removesuffix("\r").split(delimiter)
        if len(cells) <= place + 1 or '"' in lines[number - 1] or not (cell := cells[place + 1].strip()):
            continue
        if cells[place + 1].startswith(" "):
            after_space.setdefault(cell, number)
        else:
            others[cell] += 1
    kind = kind_of(others)
    if not others or (kind is None and 2 * len(others) > others.total()):  # texts of any kind may begin with a space
        return
    for cell, number in after_space.items():
        if cell not in others and (kind is None or kind_of([cell]) != kind):
            raise PromptFileError(
                f"{source}, line {number}: a space and {cell[:60]!r} follow the prompt, in a column of other cells; "
                f"quote the prompt if it holds the {delimiter!r}, or remove the space"
            )


def _ambiguous(source: str, line: int, delimiter: str) -> PromptFileError:
    pattern = {"\t": r"\t", "|": "[|]"}.get(delimiter, delimiter)
    replacement = r"\t" if delimiter == "\t" else delimiter
    script = rf"""1!{{s/"/""/g; s/{pattern}/"{replacement}"/g; s/^/"/; s/$/"/}}"""
    path = Path(source)
    command = f"sed {shlex.quote(script)} {shlex.quote(source)} > {shlex.quote(f'{path.stem}-quoted{path.suffix}')}"
    return PromptFileError(
        f"{source}, line {line}: a quoted cell holds line breaks and {delimiter!r}, and each of its lines looks like a "
        f"row; if the quotation marks are text, quote every cell below the header: {command}"
    )
