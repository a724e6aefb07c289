"""The run directory's tables: their columns, and reading and writing them without guessing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reports.files import SCHEMA_VERSION, RunFileError, RunIncompleteError, whole_file

SEVERITIES = ("none", "low", "medium", "high")
RECOVERY_VERDICTS = ("confirmed", "likely", "not_shown")
"""Best first."""
RECOVERY_STRATEGIES = ("sample", "ascend", "cyclic", "known_image", "discover")
"""The rungs of the ladder in their order, then the search that starts from no prompt."""
RECOVERY_KINDS = ("verbatim", "template")

_VERSION_KEY = b"engram.schema_version"


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


SPIKES_SCHEMA = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("site", pa.string()),
        _required("neuron", pa.int32()),
        _required("token_class", pa.string()),
        _required("activation", pa.float64()),
        _required("z", pa.float64()),
        _required("share", pa.float64()),
        pa.field("attribution", pa.float64()),
    ]
)

RECOVERIES_SCHEMA = pa.schema(
    [
        pa.field("finding_id", pa.string()),
        pa.field("prompt_id", pa.string()),
        _required("is_control", pa.bool_()),
        _required("strategy", pa.string()),
        _required("restart", pa.int32()),
        _required("evaluations", pa.int64()),
        _required("seed_agreement", pa.float64()),
        _required("verdict", pa.string()),
        pa.field("confidence", pa.float64()),
        pa.field("image_path", pa.string()),
        pa.field("mask_path", pa.string()),
        pa.field("fixed_share", pa.float64()),
        pa.field("nearest_image", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("kind", pa.string()),
    ]
)

_PROMPT_FIELDS = (
    _required("prompt_id", pa.string()),
    _required("prompt", pa.string()),
    _required("source_file", pa.string()),
    _required("source_row", pa.int64()),
    _required("n_duplicates", pa.int32()),
    _required("tier", pa.int8()),
)
_OUTCOME_FIELDS = (
    pa.field("style", pa.int32()),
    pa.field("spike_score", pa.float64()),
    pa.field("p_value", pa.float64()),
    pa.field("q_value", pa.float64()),
    _required("flagged", pa.bool_()),
    _required("severity", pa.string()),
)


def scores_schema(detectors: Sequence[str]) -> pa.Schema:
    """Columns of `scores.parquet`, with one nullable float column for each of `detectors`."""
    schema = pa.schema([*_PROMPT_FIELDS, *(pa.field(name, pa.float64()) for name in detectors), *_OUTCOME_FIELDS])
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ValueError(f"detector columns {twice} are already columns of the scores table; name them otherwise")
    return schema


def detector_columns(scores: pa.Schema) -> list[str]:
    """Names of the detector columns of a scores table, in their order."""
    fixed = set(scores_schema(()).names)
    return [name for name in scores.names if name not in fixed]


def write_table(path: Path, table: pa.Table, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
    """Write `table` with exactly `schema`'s columns and `metadata` in its footer, whole or not at all."""
    missing = [name for name in schema.names if name not in table.column_names]
    extra = [name for name in table.column_names if name not in schema.names]
    if missing or extra:
        raise ValueError(f"{path.name}: columns missing {missing}, columns unknown {extra}")
    nulls = [field.name for field in schema if not field.nullable and table[field.name].null_count]
    if nulls:
        raise ValueError(f"{path.name}: columns {nulls} may not be null")
    footer = {_VERSION_KEY: str(SCHEMA_VERSION).encode()} | {
        f"engram.{key}".encode(): value.encode() for key, value in metadata.items()
    }
    with whole_file(path) as part:
        pq.write_table(
            table.select(schema.names).cast(schema.with_metadata(footer)),
            part,
            compression="zstd",
            version="2.6",
        )


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table of ours; refuse a newer version, a missing column or another column type.

    Columns beyond `schema` are kept: for scores, pass `scores_schema(())` and every detector comes along.
    """
    if not path.is_file():
        raise RunIncompleteError(f"{path} does not exist; finish the audit by running it again")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise RunIncompleteError(f"{path} is damaged ({_first_line(error)}); run the audit again") from error
    _check_version(path, (table.schema.metadata or {}).get(_VERSION_KEY))
    for field in schema:
        found = table.schema.field(field.name).type if field.name in table.column_names else None
        if found != field.type:
            raise RunFileError(f"{path}: column {field.name} should be {field.type}, found {found or 'none'}")
    return table


def read_metadata(path: Path) -> dict[str, str]:
    """What the writer of a table said about it, as given to `write_table`."""
    footer = pq.read_schema(path).metadata or {}
    own = {key.decode(): value.decode() for key, value in footer.items() if key.startswith(b"engram.")}
    return {key.removeprefix("engram."): value for key, value in own.items() if key != _VERSION_KEY.decode()}


def _check_version(path: Path, version: bytes | None) -> None:
    if version is None or not version.isdigit():
        raise RunFileError(f"{path} was not written by engram: its footer has no schema version")
    if int(version) > SCHEMA_VERSION:
        raise RunFileError(
            f"{path} has schema version {int(version)}, this engram reads up to {SCHEMA_VERSION}; "
            "install a newer engram"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
