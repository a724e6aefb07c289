"""The columns and records of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_KINDS: dict[type, str] = {
    type(None): "null",
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


class Record(NamedTuple):
    """The cells of a record by column, and the line or record number at which it starts, counted from 1."""

    number: int
    cells: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file, and its records, which are parsed while they are iterated.

    Args:
        unit: what the numbers of the records count, "line" or "record".
        delimiter: what separates the cells; None if the format has no delimiters, or the table one column.
    """

    columns: Sequence[str]
    unit: str
    records: Iterator[Record]
    delimiter: str | None = None


def kind_name(value: object) -> str:
    """Name the type of a JSON value or of a Parquet cell, with its article."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")
