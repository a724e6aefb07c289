"""Columns of the run directory's main tables, and strict reading and writing of any table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flashbulb.reports.tables.files import (
    SCHEMA_VERSION,
    RunFileError,
    RunIncompleteError,
    atomic_write,
    check_version,
)

TableRow = Mapping[str, Any]
"""One row of a table, by column name."""

SEVERITIES = ("none", "low", "medium", "high")
RECOVERY_VERDICTS = ("confirmed", "likely", "not_shown")
"""Best first."""

_VERSION_KEY = b"flashbulb.schema_version"
ROWS_AT_ONCE, _BYTES_AT_ONCE = 4096, 1 << 16


def required_column(name: str, data_type: pa.DataType) -> pa.Field:
    """Declare a column without nulls."""
    return pa.field(name, data_type, nullable=False)


SPIKES_SCHEMA = pa.schema(
    [
        required_column("prompt_id", pa.string()),
        required_column("site", pa.string()),
        required_column("neuron", pa.int32()),
        required_column("token_class", pa.string()),
        required_column("activation", pa.float64()),
        required_column("z", pa.float64()),
        required_column("share", pa.float64()),
        pa.field("attribution", pa.float64()),
    ]
)

FINETUNE_Z, BASE_Z = "z_finetune", "z_base"
"""Columns of spikes.parquet where the audit has a base model: the z-scores whose difference is z."""


def spikes_schema(*, has_base: bool) -> pa.Schema:
    """Return the columns of `spikes.parquet`."""
    model_columns = [required_column(name, pa.float64()) for name in (FINETUNE_Z, BASE_Z)]
    return pa.schema([*SPIKES_SCHEMA, *(model_columns if has_base else [])])


RECOVERIES_SCHEMA = pa.schema(
    [
        pa.field("finding_id", pa.string()),
        pa.field("prompt_id", pa.string()),
        required_column("is_control", pa.bool_()),
        required_column("strategy", pa.string()),
        required_column("restart", pa.int32()),
        required_column("evaluations", pa.int64()),
        required_column("seed_agreement", pa.float64()),
        required_column("verdict", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("image_path", pa.string()),
        pa.field("mask_path", pa.string()),
        pa.field("fixed_share", pa.float64()),
        pa.field("alike_seeds", pa.int32()),
        pa.field("alike_prompts", pa.int32()),
        pa.field("nearest_image", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("kind", pa.string()),
    ]
)

MEMORIES_SCHEMA = pa.schema(
    [
        pa.field("finding_id", pa.string()),
        required_column("prompt_id", pa.string()),
        required_column("is_control", pa.bool_()),
        required_column("strategy", pa.string()),
        required_column("verdict", pa.string()),
        required_column("evidence", pa.string()),
        required_column("p_hits", pa.int32()),
        required_column("p_samples", pa.int32()),
        required_column("p_low", pa.float64()),
        required_column("p_high", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("image_path", pa.string()),
        pa.field("nearest_image", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("kind", pa.string()),
    ]
)
COPY, PART, AGREEMENT, RECURRENCE = "copy", "part", "agreement", "recurrence"
EVIDENCE = (COPY, PART, AGREEMENT, RECURRENCE)
"""What a memory rests on: it copies a training image, or a part of one, or seeds agree and give it confidence, or it
comes back at some seeds or with other prompts."""

_PROMPT_FIELDS = (
    required_column("prompt_id", pa.string()),
    required_column("prompt", pa.string()),
    required_column("source_file", pa.string()),
    required_column("source_row", pa.int64()),
    required_column("n_duplicates", pa.int32()),
    required_column("tier", pa.int8()),
)
_OUTCOME_FIELDS = (
    pa.field("style", pa.int32()),
    pa.field("spike_score", pa.float64()),
    pa.field("p_value", pa.float64()),
    pa.field("q_value", pa.float64()),
    required_column("flagged", pa.bool_()),
    required_column("severity", pa.string()),
)


FINETUNE_SCORE, BASE_SCORE, KNOWN_BY_BASE = "spike_score_finetune", "spike_score_base", "known_by_base"
"""Columns of scores.parquet where the audit has a base model: the scores whose difference is the spike score, and which
prompts the base flags by its own score."""


def scores_schema(detectors: Sequence[str], *, has_base: bool = False) -> pa.Schema:
    """Return the columns of `scores.parquet`, with one nullable float column for each of `detectors`.

    Raises:
        ValueError: a detector has the name of another column.
    """
    base_columns = [pa.field(KNOWN_BY_BASE, pa.bool_())] if has_base else []
    scored = [pa.field(name, pa.float64()) for name in detectors]
    schema = pa.schema([*_PROMPT_FIELDS, *scored, *_OUTCOME_FIELDS, *base_columns])
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise ValueError(f"detector columns {repeated} are already columns of the scores table; rename the detectors")
    return schema


def detector_columns(scores: pa.Schema) -> list[str]:
    """Return the names of the detector columns of a scores table, in their order."""
    fixed = set(scores_schema((), has_base=True).names)
    return [name for name in scores.names if name not in fixed]


def schema_of_scores(scores: pa.Table) -> pa.Schema:
    """Return the columns that a scores table has, in the order of the file."""
    return scores_schema(detector_columns(scores.schema), has_base=KNOWN_BY_BASE in scores.column_names)


def write_table(path: Path, table: pa.Table, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
    """Write `table` with exactly the columns of `schema` and `metadata` in its footer, atomically.

    Raises:
        ValueError: a column is missing or unknown, or has nulls where the schema allows none.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    extra = [name for name in table.column_names if name not in schema.names]
    if missing or extra:
        raise ValueError(f"{path.name}: missing columns {missing}, unknown columns {extra}")
    nulls = [field.name for field in schema if not field.nullable and table[field.name].null_count]
    if nulls:
        raise ValueError(f"{path.name}: columns {nulls} may not be null")
    footer = {_VERSION_KEY: str(SCHEMA_VERSION).encode()} | {
        f"flashbulb.{key}".encode(): value.encode() for key, value in metadata.items()
    }
    with atomic_write(path) as part:
        pq.write_table(
            table.select(schema.names).cast(schema.with_metadata(footer)),
            part,
            compression="zstd",
            version="2.6",
        )


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table and check it against `schema`; it may have more columns, such as those of detectors.

    Raises:
        RunFileError: another schema version, a missing column, or a column of another type.
        RunIncompleteError: the file is missing or damaged, or has nulls where the schema allows none.
    """
    with open_parquet(path) as file, damage_as_incomplete(path):
        return pa.Table.from_batches(checked_batches(path, file, schema, file.schema_arrow.names), file.schema_arrow)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a table to read it some rows at a time, in little memory.

    Raises:
        RunIncompleteError: the file is missing or damaged.
    """
    if not path.is_file():
        raise RunIncompleteError(f"{path} does not exist; run the audit again to finish it")
    with damage_as_incomplete(path):
        # pq.read_table imports pandas and reads a folder named `a=1` as a column; whole columns are decoded twice
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BYTES_AT_ONCE)


def checked_batches(
    path: Path, file: pq.ParquetFile, schema: pa.Schema, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of an open table with these columns, checked as `read_table` does."""
    held = file.schema_arrow
    version = (held.metadata or {}).get(_VERSION_KEY, b"")
    if not version.isdigit():
        raise RunFileError(f"{path} was not written by flashbulb: its footer has no schema version")
    check_version(path, int(version), "audit")
    for field in schema:
        found = held.field(field.name).type if field.name in held.names else None
        if found != field.type:
            raise RunFileError(f"{path}: column {field.name} should be {field.type}, found {found or 'none'}")
    required = [field.name for field in schema if not field.nullable and field.name in columns]
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns, use_threads=False):
        batch.validate(full=True)
        for name in required:
            if batch[name].null_count:
                raise RunIncompleteError(f"{path}: column {name} has nulls; run the audit again")
        yield batch


@contextmanager
def damage_as_incomplete(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into one that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise RunIncompleteError(f"{path} is damaged ({_first_line(error)}); run the audit again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
