"""Read a table with a header, separated by commas, semicolons, tabs or pipes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from flashbulb.audit.prompts.formats.csv_rows import NO_DELIMITER, csv_rows, newline_of
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.formats.quotes import check_n_cells, check_swallowed, rows_by_evidence
from flashbulb.audit.prompts.formats.tables import Record, Table

DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?[,;\t]*(?=[\r\n])', re.IGNORECASE)


def read_csv(text: str, source: str, is_header: Callable[[Sequence[str]], bool]) -> Table:
    """Read a table with a header; blank text has neither. A first line such as `sep=;` names the delimiter.

    Args:
        is_header: whether columns are those of the header; decides which delimiter the table has.

    Raises:
        PromptFileError: no delimiter gives a header; while the records are iterated, broken quotes, more cells than
            columns, or a cell that swallowed rows.
    """
    delimiters: Sequence[str] = DELIMITERS
    if named := _SEPARATOR_LINE.match(text):
        delimiters = (named[1],)
        text = text[named.end() :]  # begins with the line break, so that lines keep their numbers
    if not text.strip():
        return Table([], "line", iter(()))
    delimiter, columns = _choose_delimiter(text, source, delimiters, is_header)
    records = _csv_records(text, source, delimiter, columns)
    return Table(columns, "line", records, None if delimiter == NO_DELIMITER else delimiter)


def _choose_delimiter(
    text: str, source: str, delimiters: Sequence[str], is_header: Callable[[Sequence[str]], bool]
) -> tuple[str, list[str]]:
    """Choose the delimiter whose header satisfies `is_header`, else the one with the most columns."""
    headers: dict[str, list[str]] = {}
    refusal = PromptFileError(f"{source}: no header; name the columns in the first line")
    for delimiter in delimiters:
        try:
            header = next(csv_rows(text, source, delimiter), None)
            headers[delimiter] = header.cells if header else []
        except PromptFileError as error:
            refusal = error
    if not any(headers.values()):
        raise refusal
    # A pipe in a header of several columns is part of a name.
    best = max(headers, key=lambda d: (is_header(headers[d]), d != "|" and len(headers[d]) > 1, len(headers[d])))
    # A table of one column has no delimiter: commas in its cells are text, quoted or not.
    return NO_DELIMITER if len(headers[best]) == 1 else best, headers[best]


def _csv_records(text: str, source: str, delimiter: str, columns: list[str]) -> Iterator[Record]:
    n_columns = len(columns)
    rows = rows_by_evidence(text, source, delimiter, n_columns)
    next(rows)
    lines: list[str] = []
    for row in rows:
        line, last_line, cells = row
        if len(cells) > n_columns:
            check_n_cells(row, n_columns, source, delimiter)
        if last_line > line:
            lines = lines or text.split(newline_of(text))
            check_swallowed(lines, row, source, delimiter, n_columns)
        yield Record(line, dict(zip(columns, cells, strict=False)))
