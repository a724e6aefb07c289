"""Find the images in the columns of a Parquet file, and read them by row, as Hugging Face datasets store them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.audit.images.formats import HEAD, starts_like_an_image
from flashbulb.audit.training_images.sources.archives import TOO_LARGE
from flashbulb.audit.training_images.sources.members import MAX_BYTES, Member, PassOver

TABLE = "table"

_ERRORS = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, RuntimeError, MemoryError)
_BYTES_AT_ONCE, _ROWS_AT_ONCE = 1 << 26, 64
_BUFFER = 1 << 20  # bytes of a column that are read ahead


def find_in_table(path: Path, file: str, pass_over: PassOver) -> Iterator[Member]:
    """Find the images in a Parquet file: every row of each column that holds images.

    That is a column of bytes, or of `bytes` and `path`, of which a first row is an image.

    Args:
        file: path of the Parquet file relative to the source.
    """
    label = file or path.name
    try:
        with _open(path) as table:
            n_rows = table.metadata.num_rows
            if n_rows > path.stat().st_size:  # else damaged metadata would claim rows without end
                raise OSError(f"{n_rows} rows")
            columns = [column for column in _columns_of_bytes(table.schema_arrow) if _holds_images(table, column)]
            if not columns:
                pass_over("Parquet without a column of images", label)
            for column in columns:
                for row in range(n_rows):
                    yield Member(file, f"{column.removesuffix('.bytes')}[{row}]", row, 0, TABLE, column)
    except _ERRORS:
        pass_over("damaged or encrypted Parquet", label)


class _Batch(NamedTuple):
    start: int
    values: pa.Array

    @property
    def end(self) -> int:
        return self.start + len(self.values)


class Rows:
    """The bytes of one column, by row. Rows are cheapest in ascending order; a few are held in memory.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, column: str) -> None:
        try:
            self._table = _open(path)
            metadata = self._table.metadata
            self._n_rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        except _ERRORS as error:
            raise OSError(f"{path} cannot be read: {error}") from error
        self._column = column
        self._group = -1  # the row group being read
        self._group_start = 0  # its first row
        self._batches: Iterator[pa.RecordBatch] = iter(())
        # The batch before is held, too, because threads ask for rows not quite in order.
        self._before = self._batch = _Batch(0, pa.array([]))
        self._damage: str | None = None

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def read(self, row: int) -> bytes:
        """Return the bytes of a row.

        Raises:
            FileNotFoundError: the row holds none.
            OSError: the row group cannot be read, or there is no such row.
        """
        if self._group < 0 or not self._before.start <= row < self._group_start + self._n_rows[self._group]:
            self._open_group(row)
        while self._damage is None and row >= self._batch.end:
            self._next_batch()
        batch = self._batch if row >= self._batch.start else self._before
        if row >= batch.end:
            raise OSError(self._damage)
        value = batch.values[row - batch.start].as_py()
        if value is None:
            raise FileNotFoundError(f"row {row} holds no bytes of an image")
        return bytes(value)

    def _open_group(self, row: int) -> None:
        ends = list(accumulate(self._n_rows))
        group = bisect_right(ends, row)
        if group == len(ends):
            raise OSError(f"there is no row {row}")
        start = ends[group] - self._n_rows[group]
        self._group, self._group_start = group, start
        self._before = self._batch = _Batch(start, pa.array([]))
        self._damage = None
        size = _bytes_per_row(self._table, group, self._column)
        if size > MAX_BYTES:
            self._damage = TOO_LARGE
            return
        try:
            self._batches = _batches(self._table, group, self._column, size)
        except _ERRORS as error:
            self._damage = str(error)

    def _next_batch(self) -> None:
        try:
            values = _values(next(self._batches))
            self._before, self._batch = self._batch, _Batch(self._batch.end, values)
        except StopIteration:
            self._damage = "the row group is cut short"
        except _ERRORS as error:
            self._damage = str(error)


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def _columns_of_bytes(schema: pa.Schema) -> Iterator[str]:
    """Yield the paths of the columns that may hold encoded images."""
    for column in schema:
        if _is_bytes(column.type):
            yield column.name
        elif pa.types.is_struct(column.type):
            names = [field.name for field in column.type]
            if "bytes" in names and _is_bytes(column.type.field("bytes").type):
                yield f"{column.name}.bytes"


def _is_bytes(kind: pa.DataType) -> bool:
    return str(kind.value_type if pa.types.is_dictionary(kind) else kind) in {"binary", "large_binary", "binary_view"}


def _holds_images(table: pq.ParquetFile, column: str) -> bool:
    """Return whether the first rows of a column hold an image, or none of them holds anything but it is of images."""
    first: list[bytes] = []
    for group in range(table.metadata.num_row_groups):
        size = _bytes_per_row(table, group, column)
        if size > MAX_BYTES:
            continue
        for batch in _batches(table, group, column, size):
            first = [value for value in _values(batch).to_pylist() if value is not None]
            if first:
                return any(starts_like_an_image(bytes(value[:HEAD])) for value in first)
    return False


def _bytes_per_row(table: pq.ParquetFile, group: int, column: str) -> int:
    """Return the mean size of the rows of a column, as their row group states it."""
    metadata = table.metadata.row_group(group)
    leaves = [metadata.column(i) for i in range(metadata.num_columns)]
    size = sum(int(leaf.total_uncompressed_size) for leaf in leaves if leaf.path_in_schema == column)
    return size // max(1, int(metadata.num_rows))


def _batches(table: pq.ParquetFile, group: int, column: str, bytes_per_row: int) -> Iterator[pa.RecordBatch]:
    n_rows = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, bytes_per_row)))
    return iter(table.iter_batches(n_rows, row_groups=[group], columns=[column], use_threads=False))


def _values(batch: pa.RecordBatch) -> pa.Array:
    """Return the column of bytes; that of a structure without a value has none either."""
    values = batch.column(0)
    return values.flatten()[0] if pa.types.is_struct(values.type) else values
