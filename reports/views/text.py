"""Make untrusted text safe to show: prompts and file names come from outside and end up in terminals and pages."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from rich.cells import cell_len, set_cell_size

_VISIBLE = {"\n": "↵", "\r": "↵", "\t": " ", "\u2028": "↵", "\u2029": "↵"}
_NOT_PLAIN = re.compile(r"[^\n -~]")  # in JSON, a raw line feed is of the layout, never of a string
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols that are drawn as nothing


def visible_text(text: str, limit: int) -> str:
    """Cut text to `limit` characters, then replace every control, bidi and unassigned character by its code."""
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(map(_visible_character, shortened.replace("\r\n", "\n")))


def fitted_text(text: str, cells: int) -> str:
    """Cut the visible text to a width in terminal cells; East Asian letters and emoji take two cells."""
    shown = visible_text(text, 2 * cells)
    return shown if cell_len(shown) <= cells else set_cell_size(shown, cells - 1).rstrip() + "…"


def format_location(source_file: str, source_row: int) -> str:
    """Return where a prompt comes from, such as `captions.csv, row 17`; folders are left out."""
    return f"{visible_text(PurePath(source_file).name, 80)}, row {source_row}"


def markdown_code(text: str, limit: int) -> str:
    """Return the visible text as a Markdown code span that is safe in a table: it holds no markup, link or mention.

    Backticks and pipes, which would end the span or the cell, are replaced by look-alikes.
    """
    plain = visible_text(text, limit).replace("`", "ˋ").replace("|", "¦").strip()
    return f"`{plain or '(empty)'}`"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV document; cells of untrusted text must be made safe before."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def is_formula(cell: str) -> bool:
    """Return whether a spreadsheet would run this cell."""
    return cell.startswith(("=", "+", "-", "@"))


def json_text(document: Any, indent: int | None = None) -> str:
    """Return JSON whose every invisible character is an escape: controls, bidi marks, and all that ends a line.

    Letters of any script stay as they are. Parsing gives the same document as without the escapes.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    return _NOT_PLAIN.sub(lambda match: _json_character(match[0]), text)


def _json_character(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _visible_character(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if character in _BLANK_LETTERS or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
        return f"⟨U+{ord(character):04X}⟩"
    return " " if unicodedata.category(character) == "Zs" else character
