"""Find the columns that hold prompts by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flashbulb.audit.prompts.formats.errors import PromptFileError

TEXT_COLUMNS = ("prompt", "text", "caption")
"""Columns that hold prompts, in any case."""

_OTHER_TEXT_COLUMN = re.compile(r"(?:prompt|text|caption|comment|sentence)s?(?:[ _-]?\d+)?")
"""Names that count if no column has one of TEXT_COLUMNS, such as `captions`, `caption_0` and Flickr30k's `comment`."""

_N_COLUMNS_LISTED = 12


def text_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns that may hold prompts: those named so, else those with a similar name such as `captions`."""
    return columns_named(columns, TEXT_COLUMNS) or [
        column for column in columns if _OTHER_TEXT_COLUMN.fullmatch(column.strip().lower())
    ]


def columns_named(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns with one of these lower-case names, whatever their own case and outer spaces."""
    return [column for column in columns if column.strip().lower() in names]


def candidates(columns: Sequence[str], text_column: str | None) -> list[str]:
    """Return the columns with exactly the name, else those that may hold prompts."""
    return text_columns(columns) if text_column is None else [name for name in columns if name == text_column]


def choose_column(columns: Sequence[str], text_column: str | None, source: str) -> str:
    """Return the named column, else the only one that may hold prompts.

    Raises:
        PromptFileError: there is no such column, or more than one.
    """
    names = candidates(columns, text_column)
    if len(names) == 1:
        return names[0]
    if len(set(names)) == 1:
        raise PromptFileError(f"{source}: {len(names)} columns are named {names[0]!r}; rename all but one")
    if names:
        raise PromptFileError(
            f"{source}: columns {' and '.join(map(repr, names[:_N_COLUMNS_LISTED]))} may each hold the prompts; "
            "choose one with --text-column"
        )
    wanted = "prompt, text or caption" if text_column is None else repr(text_column)
    raise PromptFileError(
        f"{source}: no column {wanted} among {listed(columns)}; choose one of these with --text-column"
    )


def listed(columns: Sequence[str]) -> str:
    """List the first columns for an error message, with long names cut."""
    names = [repr(name if len(name) <= 60 else name[:57] + "...") for name in columns[:_N_COLUMNS_LISTED]]
    n_more = len(columns) - len(names)
    return (", ".join(names) or "none") + (f" and {n_more} more" if n_more else "")
