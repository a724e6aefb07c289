"""What a source of training images holds beside those that an audit compares: how much of each kind, and a name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TEXT_SUFFIXES = frozenset({".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".cls", ".md", ".yaml", ".yml"})
"""Suffixes of captions and labels, which are expected beside images."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Files or members that are not compared, for one reason.

    Args:
        reason: why, or the suffix of files that are no images.
        n: how many.
        first: name of the first, safe to show.
    """

    reason: str
    n: int
    first: str


def passed_over_line(rows: Iterable[PassedOver]) -> str:
    """Return one line: each reason with its number and the first name."""
    return ", ".join(f"{row.reason} {row.n:,} (first {row.first})" for row in rows)


def passed_over_warnings(rows: Sequence[PassedOver]) -> tuple[str, ...]:
    """Return what a reader of the result must know; nothing where only text files lie beside the images."""
    notable = beside_text(rows)
    if not notable:
        return ()
    line = passed_over_line(notable)
    return (f"Beside the training images, this was not compared, and no memory of it is confirmed: {line}.",)


def beside_text(rows: Sequence[PassedOver]) -> tuple[PassedOver, ...]:
    """Leave out captions and other text files."""
    return tuple(row for row in rows if row.reason not in TEXT_SUFFIXES)
