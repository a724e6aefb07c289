"""Walk the rows of a table a few at a time, so that a large table never becomes Python objects whole."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from flashbulb.reports.tables.schema import TableRow

_ROWS_AT_ONCE = 4096


def iter_rows(table: pa.Table, columns: Sequence[str]) -> Iterator[TableRow]:
    """Yield every row, with these columns only."""
    for batch in table.select(list(columns)).to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()
