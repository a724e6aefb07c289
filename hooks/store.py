"""Activations in Parquet shards with JSON manifests: written complete or not at all, read by column."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from flashbulb.hooks.columns import as_column, as_rows, names_of_activations
from flashbulb.hooks.files import DamagedFile, sealed, unsealed, write_atomically

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
ROWS_PER_GROUP = 200
_LAYOUT = "flashbulb.layout"


class FingerprintMismatch(ValueError):  # noqa: N818
    """A shard was recorded with another model or other settings than the current run."""


class NewerSchema(ValueError):  # noqa: N818
    """A file was written by a newer version, which this version cannot read."""


@dataclass(frozen=True, slots=True)
class ShardManifest:
    """The contents and origin of a shard; a manifest beside a shard marks the shard as complete.

    Args:
        n_bytes: size of the Parquet file.
        sha256: hexadecimal digest of the Parquet file.
        columns: names of all columns, keys first.
        entries: further entries of the writer, such as settings, versions and firing counts.
    """

    schema_version: int
    fingerprint: str
    n_rows: int
    n_bytes: int
    sha256: str
    columns: tuple[str, ...]
    entries: Mapping[str, object] = field(default_factory=dict)


_OWN_ENTRIES = frozenset(f.name for f in fields(ShardManifest)) - {"entries"}


def write_shard(
    directory: Path,
    index: int,
    keys: Mapping[str, Sequence[object] | pa.Array],
    activations: Mapping[str, Tensor],
    manifest: Mapping[str, object],
) -> Path:
    """Write shard `index`, then its manifest, each complete or not at all; return the path of the Parquet file.

    Args:
        keys: the columns that identify a row, by name, one value per row, and any others that are written as they are.
        activations: [row, neuron] by column, stored as float16, or as float32 if a finite value is above 65504;
            rows with only NaN become null.
        manifest: a "fingerprint" (string) and any other entries that JSON can hold; a "layout" says that something
            else is written in the place of activations.

    Raises:
        ValueError: columns differ in length or share a name, or a manifest entry is missing or reserved.
    """
    footer = {"flashbulb.schema_version": str(SCHEMA_VERSION), "flashbulb.fingerprint": _fingerprint(manifest)}
    footer |= {_LAYOUT: str(manifest["layout"])} if "layout" in manifest else {}
    table = _table(keys, activations).replace_schema_metadata(footer)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"part-{index:05d}.parquet"
    write_atomically(path, lambda file: _write_parquet(table, list(keys), file))
    own = {
        "schema_version": SCHEMA_VERSION,
        "n_rows": table.num_rows,
        "n_bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "columns": table.column_names,
    }
    text = sealed({**own, **manifest})
    write_atomically(path.with_suffix(".json"), lambda file: file.write(text.encode()))
    return path


def read_manifest(path: Path) -> ShardManifest:
    """Read the manifest of a shard; `path` is that of its Parquet file or of the manifest itself.

    Raises:
        FileNotFoundError: the shard has no manifest.
        NewerSchema: the manifest was written by a newer version.
        DamagedFile: the file is not what was written, or not the manifest of a shard.
    """
    path = path.with_suffix(".json")
    content = unsealed(path)
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(
            f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; upgrade or record the activations again"
        )
    missing = sorted(_OWN_ENTRIES - content.keys())
    if missing:
        raise DamagedFile(f"{path} is not the manifest of a shard: it lacks {missing}")
    own = {name: content.pop(name) for name in _OWN_ENTRIES}
    return ShardManifest(**{**own, "columns": tuple(own["columns"])}, entries=content)


def complete_shards(directory: Path, fingerprint: str) -> dict[int, Path]:
    """Find the complete shards, by index in ascending order; none if the directory does not exist.

    A shard is complete if its manifest exists and matches the size and digest of its Parquet file. What an interrupted
    writer left behind is skipped, and so is a damaged shard, with a warning that names it.

    Raises:
        FingerprintMismatch: a manifest has another fingerprint.
        NewerSchema: a manifest was written by a newer version.
    """
    shards: dict[int, Path] = {}
    for manifest_path in directory.glob("part-*.json"):
        path = manifest_path.with_suffix(".parquet")
        try:
            manifest = read_manifest(path)
        except DamagedFile as error:
            logger.warning("%s", error)
            continue
        if manifest.fingerprint != fingerprint:
            raise FingerprintMismatch(
                f"{path} was recorded with fingerprint {manifest.fingerprint}, this run has {fingerprint}; "
                f"delete it and {manifest_path.name}, which belong to another recording"
            )
        if not (path.is_file() and path.stat().st_size == manifest.n_bytes and _sha256(path) == manifest.sha256):
            logger.warning("%s is missing or damaged", path)
        elif (index := path.stem.removeprefix("part-")).isdecimal():
            shards[int(index)] = path
    return dict(sorted(shards.items()))


def activation_columns(path: Path) -> list[str]:
    """Return the names of a shard's activation columns: those with one list of numbers per row."""
    return names_of_activations(pq.read_schema(path))


def read_activations(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], columns: Sequence[str] | None = None
) -> tuple[dict[str, npt.NDArray[np.float32]], pa.Table]:
    """Read activation columns (all by default) and the key columns of shards, and concatenate them in order.

    Args:
        paths: Parquet files of shards, or one such file.

    Returns:
        float32 [row, neuron] by column, with NaN in null rows, and the key columns as a table.

    Raises:
        ValueError: `paths` is empty, or a shard lacks a column or has another number of neurons in it, or holds
            something else in the place of activations.
    """
    shards = [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not shards:
        raise ValueError("no shards to read")
    selected = activation_columns(shards[0]) if columns is None else list(columns)
    arrays: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in selected}
    key_tables = []
    for path in shards:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if columns is None or selected:
                _refuse_reduced(path, schema)
            present = names_of_activations(schema)
            missing = [name for name in selected if name not in present]
            if missing:
                raise ValueError(f"{path} lacks {len(missing)} activation columns, first {missing[0]}")
            key_names = [name for name in schema.names if name not in present]
            table = file.read(columns=key_names + selected)
        key_tables.append(table.select(key_names).replace_schema_metadata(None))
        for name in selected:
            arrays[name].append(as_rows(table.column(name)))
    joined = {name: np.concatenate(parts) for name, parts in arrays.items()}
    return joined, pa.concat_tables(key_tables, promote_options="default")


def _refuse_reduced(path: Path, schema: pa.Schema) -> None:
    layout = (schema.metadata or {}).get(_LAYOUT.encode())
    if layout is not None:
        raise ValueError(
            f"{path} holds no activations: it was recorded in the {layout.decode()} layout, which keeps what detection "
            "reads of them; record again with --layout dense"
        )


def _fingerprint(manifest: Mapping[str, object]) -> str:
    fingerprint = manifest.get("fingerprint")
    if not isinstance(fingerprint, str):
        raise ValueError(f'the manifest needs a "fingerprint" string, got {fingerprint!r}')
    reserved = sorted(manifest.keys() & (_OWN_ENTRIES - {"fingerprint"}))
    if reserved:
        raise ValueError(f"manifest entries {reserved} are reserved for the store; rename them")
    return fingerprint


def _table(keys: Mapping[str, Sequence[object] | pa.Array], activations: Mapping[str, Tensor]) -> pa.Table:
    shared = sorted(keys.keys() & activations.keys())
    if shared:
        raise ValueError(f"columns {shared} are both keys and activations")
    lengths = {name: len(values) for name, values in [*keys.items(), *activations.items()]}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in their number of rows: {lengths}")
    columns = {name: pa.array(values) for name, values in keys.items()}
    return pa.table(columns | {name: as_column(name, values) for name, values in activations.items()})


def _write_parquet(table: pa.Table, key_names: list[str], file: BinaryIO) -> None:
    # Dictionary encoding and statistics help keys, not activations. DuckDB cannot read float16 BYTE_STREAM_SPLIT.
    pq.write_table(
        table,
        file,
        compression="zstd",
        row_group_size=ROWS_PER_GROUP,
        use_dictionary=key_names,
        write_statistics=key_names,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
