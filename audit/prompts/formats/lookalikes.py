"""Refuse files that are not what their names say: tables and JSON named .txt, and tables without a header."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from flashbulb.audit.prompts.formats.cell_kinds import kind_of
from flashbulb.audit.prompts.formats.columns import candidates, listed
from flashbulb.audit.prompts.formats.csv_tables import DELIMITERS
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.formats.json_tables import is_json
from flashbulb.audit.prompts.formats.tables import Table

_FEWEST_REGULAR = 0.9
"""Share of the lines of a table that look like its first one; others hold a line break or a separator too many."""

_LONGEST_NAME = 40
"""Characters of a column's name; more are a caption."""


def refuse_other_format(lines: Sequence[str], source: str, text_column: str | None) -> None:
    """Refuse the lines of a text file that are JSON or the rows of a table.

    Raises:
        PromptFileError: they are; the message says how to have them read as such.
    """
    first = next(filter(str.strip, lines), "").strip()
    if suffix := _json_suffix(first, lines):
        raise PromptFileError(f"{source}: holds JSON, not a prompt in every line; name it {suffix}")
    if candidates([first], text_column) and len(lines) > 1:
        raise PromptFileError(
            f"{source}: its first line, {first!r}, is the header of a table; name it .csv, or move the line down if it "
            "is a prompt"
        )
    for delimiter in DELIMITERS:
        if delimiter not in first:
            continue
        cells = _cells(first, delimiter)
        if candidates(cells, text_column) and _is_table(lines, delimiter, len(cells)):
            raise PromptFileError(
                f"{source}: looks like a table, since its first line has the columns {listed(cells)} and the others as "
                f"many cells; name it {_suffix(delimiter)}"
            )
        if end := _end_with_names(lines, delimiter):
            if _is_table(lines, delimiter, len(cells)):
                raise _missing_header(cells, source, delimiter)
            raise _unquoted(cells, source, delimiter, end)


def _json_suffix(first: str, lines: Sequence[str]) -> str | None:
    """Return the suffix for text that is JSON; lines that are JSON strings are prompts between quotation marks."""
    if not re.match(r'\[\s*(["{\[]|$)|\{\s*("|$)', first):
        return None
    if (
        first.startswith("{")
        and is_json(first)
        and all(line.lstrip().startswith("{") for line in lines if line.strip())
    ):
        return ".jsonl"
    return ".json" if is_json("\n".join(lines)) else None


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a cell of more than 131072 characters
        return []


def _is_table(lines: Sequence[str], delimiter: str, n_columns: int) -> bool:
    n_cells = [len(_cells(line, delimiter)) for line in lines if line.strip()][1:]
    return bool(n_cells) and n_cells.count(n_columns) >= _FEWEST_REGULAR * len(n_cells)


def _end_with_names(lines: Sequence[str], delimiter: str) -> str | None:
    """Return the end, "first" or "last", at which lines name a file or an address; None if they are prompts.

    Beside a tab or pipe a number is enough.
    """
    rows = [line for line in lines if line.strip()]
    kinds = ("file_name", "url") if delimiter in ",;" else ("file_name", "url", "number")

    def is_named(line: str, end: str) -> bool:
        cells = line.split(delimiter, 1) if end == "first" else line.rsplit(delimiter, 1)[::-1]
        return len(cells) == 2 and kind_of(cells[:1]) in kinds

    for end in ("first", "last"):
        if len(rows) < 2 or not is_named(rows[0], end):
            continue
        if sum(is_named(row, end) for row in rows) >= _FEWEST_REGULAR * len(rows):
            return end
    return None


def refuse_missing_header(table: Table, source: str) -> None:
    """Refuse a table whose first line is a row.

    Raises:
        PromptFileError: it is; the message says how to name the columns.
    """
    columns = table.columns
    if candidates(columns, None) or not _is_row(columns):
        return
    if table.delimiter is None:
        raise PromptFileError(
            f"{source}: no column prompt, text or caption among {listed(columns)}; if its first line is a prompt, name "
            "it .txt"
        )
    raise _missing_header(columns, source, table.delimiter)


def _is_row(cells: Sequence[str]) -> bool:
    """Whether cells are a caption and others, not names of columns; numbers are names unless beside a caption."""
    captions = [cell for cell in cells if not kind_of([cell])]
    longest = max(captions, key=len, default="")
    if len(longest) > _LONGEST_NAME or len(longest.split()) > 3:
        return True
    kinds = {kind_of([cell]) for cell in cells}
    return bool(longest) and ("file_name" in kinds or "url" in kinds or ("number" in kinds and " " in longest.strip()))


def _missing_header(cells: Sequence[str], source: str, delimiter: str) -> PromptFileError:
    names = [kind_of([cell]) or f"column_{number}" for number, cell in enumerate(cells, start=1)]
    caption = max((cell for cell in cells if not kind_of([cell])), key=len, default=cells[0])
    names[cells.index(caption)] = "caption"
    header = delimiter.join(names).replace("\t", r"\t")
    return PromptFileError(
        f"{source}: no header, since its first line is a row ({listed(cells)}); write a line above it that names the "
        f"columns, such as '{header}'" + _command(f"printf '{header}\\n' | cat - {{}} > {{}}", source, delimiter)
    )


def _unquoted(cells: Sequence[str], source: str, delimiter: str, end: str) -> PromptFileError:
    """Refuse captions that hold the delimiter without being quoted: only the outermost one separates."""
    if end == "first":
        header, script = rf"{kind_of(cells[:1])}\tcaption", rf"s/{delimiter}/\t/"
    else:
        header, script = rf"caption\t{kind_of(cells[-1:])}", rf"s/\(.*\){delimiter}/\1\t/"
    return PromptFileError(
        f"{source}: no header, and captions that hold {delimiter!r}; separate the columns by tabs and name them in a "
        f"line above, such as '{header}'"
        + _command(f"sed '{script}' {{}} | (printf '{header}\\n'; cat) > {{}}", source, "\t")
    )


def _command(template: str, source: str, delimiter: str) -> str:
    """Return the command that writes a file anew beside it; none for standard input."""
    if source == "standard input":
        return ""
    new = f"{Path(source).stem}-named{_suffix(delimiter)}"
    return ": " + template.format(shlex.quote(source), shlex.quote(new))


def _suffix(delimiter: str) -> str:
    return ".tsv" if delimiter == "\t" else ".csv"
