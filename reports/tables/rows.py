"""Rows of a table, a few at a time or chosen ones, so that a large table never becomes Python objects whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from heapq import nlargest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flashbulb.reports.tables.schema import (
    ROWS_AT_ONCE,
    TableRow,
    checked_batches,
    damage_as_incomplete,
    open_parquet,
)


class Rows(Protocol):
    """A table whose rows are read a few at a time: one in memory, or one that stays in its file."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    def select(self, columns: Sequence[str], /) -> Rows:
        """Return the table with these columns only."""

    def to_batches(self, max_chunksize: int, /) -> Iterable[pa.RecordBatch]:
        """Return its rows, so many at a time."""


class StoredTable:
    """A table that is checked once and stays in its file: rows are read whenever they are asked for, a few at a time.

    The file stays open. So what is read are the bytes that were checked, also where another file takes their place.

    Args:
        schema: columns that it must have, as `read_table` checks them.

    Raises:
        RunFileError, RunIncompleteError: as `read_table`.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._file = path, open_parquet(path)
        self.schema: pa.Schema = self._file.schema_arrow
        self.num_rows: int = self._file.metadata.num_rows
        for name in self.schema.names:  # one after the other: what a file holds of a column is large
            with damage_as_incomplete(path):
                for _ in checked_batches(path, self._file, schema, [name]):
                    pass

    def select(self, columns: Sequence[str], /) -> StoredTable:
        """Return the table with these columns only."""
        chosen = copy(self)
        chosen.schema = pa.schema([self.schema.field(name) for name in columns])
        return chosen

    def to_batches(self, max_chunksize: int, /) -> Iterator[pa.RecordBatch]:
        """Yield its rows, so many at a time."""
        with damage_as_incomplete(self._path):
            yield from self._file.iter_batches(max_chunksize, columns=self.schema.names, use_threads=False)


def iter_rows(table: Rows, columns: Sequence[str]) -> Iterator[TableRow]:
    """Yield every row, with these columns only."""
    for batch in table.select(list(columns)).to_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def iter_column(table: Rows, name: str) -> Iterator[Any]:
    """Yield every value of a column."""
    for batch in table.select([name]).to_batches(ROWS_AT_ONCE):
        yield from batch.column(0).to_pylist()


def highest_rows(table: Rows, n: int, columns: Sequence[str], rank: Callable[[TableRow], Any]) -> list[TableRow]:
    """Return the `n` rows of highest rank, highest first; among equals those that come first.

    Args:
        columns: what `rank` reads of a row; it returns None for a row that is left out.
    """
    ranks = ((rank(row), -position) for position, row in enumerate(iter_rows(table, columns)))
    return take_rows(table, [-position for _, position in nlargest(n, (r for r in ranks if r[0] is not None))])


def take_rows(table: Rows, positions: Sequence[int]) -> list[TableRow]:
    """Return rows of a table in this order, read one column after the other: what a file holds of a column is large."""
    ordered = np.sort(np.asarray(positions, dtype=np.int64))
    columns = {name: list(_values_at(table, name, ordered)) for name in table.schema.names}
    places = np.searchsorted(ordered, np.asarray(positions, dtype=np.int64)).tolist()
    return [{name: values[place] for name, values in columns.items()} for place in places]


def _values_at(table: Rows, name: str, ordered: npt.NDArray[np.int64]) -> Iterator[Any]:
    first = 0
    for batch in table.select([name]).to_batches(ROWS_AT_ONCE):
        wanted = ordered[slice(*np.searchsorted(ordered, [first, first + batch.num_rows]))]
        if len(wanted):  # as a buffer: given a list, `take` itself would load pandas, if it is installed
            indices = pa.Array.from_buffers(pa.int64(), len(wanted), [None, pa.py_buffer(wanted - first)])
            yield from batch.column(0).take(indices).to_pylist()
        first += batch.num_rows
