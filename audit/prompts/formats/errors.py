"""The error of a prompt file, and the sizes that no prompt file may exceed."""

from __future__ import annotations

MOST_BYTES = 2**30
"""Size of the text of a prompt file, unpacked. Reading takes several times as much memory."""

MOST_ROWS = 10_000_000
"""Rows of a prompt file."""


class PromptFileError(ValueError):
    """A prompt file that cannot be used as it is; the message says what is wrong, where, and how to repair it."""


def check_n_rows(n_rows: int, source: str) -> None:
    """Refuse a file with so many rows that reading it could exhaust the memory.

    Raises:
        PromptFileError: there are more than MOST_ROWS.
    """
    if n_rows > MOST_ROWS:
        raise PromptFileError(f"{source}: {n_rows:,} rows, more than {MOST_ROWS:,}; split the file or draw a sample")
