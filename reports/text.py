"""Hostile text made safe to show: prompts are strangers' and end up in terminals and pages."""

import unicodedata

from rich.cells import cell_len, set_cell_size

_VISIBLE = {"\n": "↵", "\r": "↵", "\t": " ", "\u2028": "↵", "\u2029": "↵"}
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols that are drawn as nothing


def visible_text(text: str, limit: int) -> str:
    """Name every control, bidi and unassigned character, then cut what is longer than `limit` characters."""
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(map(_visible_character, shortened.replace("\r\n", "\n")))


def fitted_text(text: str, cells: int) -> str:
    """The visible text, cut to a width: letters of East Asian scripts and pictures take two cells."""
    shown = visible_text(text, 2 * cells)
    return shown if cell_len(shown) <= cells else set_cell_size(shown, cells - 1).rstrip() + "…"


def markdown_code(text: str, limit: int) -> str:
    """Return `text` as a code span that holds in a table: nothing in it is markup, a link or a mention.

    Backticks and pipes, which would end the span or the cell, are replaced by their look-alikes.
    """
    plain = visible_text(text, limit).replace("`", "ˋ").replace("|", "¦").strip()
    return f"`{plain or '(empty)'}`"


def _visible_character(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    if character in _BLANK_LETTERS or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
        return f"⟨U+{ord(character):04X}⟩"
    return " " if unicodedata.category(character) == "Zs" else character
