"""Read Parquet and Arrow files into columns and records, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.audit.prompts.formats.errors import MOST_BYTES, PromptFileError, check_n_rows
from flashbulb.audit.prompts.formats.tables import Record, Table

_TEXT = ("string", "large_string", "string_view", "null")
_ROWS_AT_ONCE = 65_536

ChooseColumns = Callable[[pa.Schema], Sequence[str]]
"""Names of the columns to read."""


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts or nulls, or lists of them."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return str(kind) in _TEXT


def read_parquet(path: str, choose: ChooseColumns) -> Table:
    """Read the columns of a Parquet file that `choose` names, and no others.

    Raises:
        OSError: there is no such file.
        PromptFileError: the file is damaged or too large; while the records are iterated also invalid UTF-8.
    """
    Path(path).stat()  # so that a missing file is reported as missing
    with _name_errors(path), _arrow_errors(path, "Parquet"):
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        columns = list(choose(schema))
        _check_size(metadata, columns, path)
    return Table(schema.names, "record", _records(_parquet_batches(path, columns), path, "Parquet"))


def _check_size(metadata: pq.FileMetaData, columns: Sequence[str], path: str) -> None:
    """Refuse a file that says that it unpacks to more than memory should hold."""
    check_n_rows(metadata.num_rows, path)
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    chosen = [index for index, name in enumerate(paths) if name in columns or name.partition(".list.")[0] in columns]
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    n_bytes = sum(group.column(index).total_uncompressed_size for group in groups for index in chosen)
    if n_bytes > MOST_BYTES:
        raise _too_large(path)


def _too_large(path: str) -> PromptFileError:
    return PromptFileError(f"{path}: more than {MOST_BYTES // 2**20} MiB of text; split the file or draw a sample")


def _parquet_batches(path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(columns=columns)


def read_arrow(path: str, choose: ChooseColumns) -> Table:
    """Read the columns of an Arrow file or stream that `choose` names, and no others.

    Raises:
        OSError: there is no such file.
        PromptFileError: the file is damaged or too large.
    """
    Path(path).stat()
    with _name_errors(path), _arrow_errors(path, "Arrow"), ExitStack() as stack:
        schema = _open_arrow(path, stack).schema
        columns = list(choose(schema))
    return Table(schema.names, "record", _records(_arrow_batches(path, columns), path, "Arrow"))


def _open_arrow(path: str, stack: ExitStack) -> pa.RecordBatchReader | pa.ipc.RecordBatchFileReader:
    source = stack.enter_context(pa.memory_map(path))
    if source.read(6) == b"ARROW1":
        return stack.enter_context(pa.ipc.open_file(source))
    source.seek(0)
    return stack.enter_context(pa.ipc.open_stream(source))


def _arrow_batches(path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with ExitStack() as stack:
        reader = _open_arrow(path, stack)
        is_file = isinstance(reader, pa.ipc.RecordBatchFileReader)
        batches: Iterable[pa.RecordBatch] = (
            map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        )
        for batch in batches:
            chosen = batch.select(columns)
            check_n_rows(chosen.num_rows, path)
            chosen.validate(full=True)  # offsets that point out of a buffer would crash the process
            for start in range(0, chosen.num_rows, _ROWS_AT_ONCE):
                yield chosen.slice(start, _ROWS_AT_ONCE)


@contextmanager
def _name_errors(path: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{path}: a column name is not UTF-8; write the file again with another name") from error


def _records(batches: Iterable[pa.RecordBatch], path: str, form: str) -> Iterator[Record]:
    number, n_bytes = 0, 0
    with _arrow_errors(path, form):
        for batch in batches:
            n_bytes += batch.nbytes
            if n_bytes > MOST_BYTES:
                raise _too_large(path)
            check_n_rows(number + batch.num_rows, path)
            rows, error = _valid_rows(batch)
            for row in rows:
                number += 1
                yield Record(number, row)
            if error is not None:
                raise PromptFileError(
                    f"{path}, record {number + 1}: invalid UTF-8; write the texts as UTF-8"
                ) from error


def _valid_rows(batch: pa.RecordBatch) -> tuple[list[dict[str, object]], UnicodeDecodeError | None]:
    """Return the rows before the first with invalid UTF-8, and its error; None if all are valid."""
    rows: list[dict[str, object]] = []
    try:
        return batch.to_pylist(), None  # row by row takes twice as long
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                rows += batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                return rows, error
    return rows, None


@contextmanager
def _arrow_errors(path: str, form: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = next(iter(str(error).splitlines()), "unreadable")
        raise PromptFileError(f"{path}: broken {form} ({reason}); write the file again") from error
