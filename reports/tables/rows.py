"""Rows of a table, a few at a time or chosen ones, so that a large table never becomes Python objects whole."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from flashbulb.reports.tables.schema import TableRow

_ROWS_AT_ONCE = 4096


def iter_rows(table: pa.Table, columns: Sequence[str]) -> Iterator[TableRow]:
    """Yield every row, with these columns only."""
    for batch in table.select(list(columns)).to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def take_rows(table: pa.Table, indices: Sequence[int]) -> list[TableRow]:
    """Return rows of a table in this order. Given a list, `take` itself would load pandas, if it is installed."""
    buffer = pa.py_buffer(np.asarray(indices, dtype=np.int64))
    rows: list[TableRow] = table.take(pa.Array.from_buffers(pa.int64(), len(indices), [None, buffer])).to_pylist()
    return rows
