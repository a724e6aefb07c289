"""Tables come back as they were written, in every reader, and strangers' files are refused."""

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.files import RunFileError, RunIncompleteError
from reports.schema import (
    RECOVERIES_SCHEMA,
    SPIKES_SCHEMA,
    detector_columns,
    read_metadata,
    read_table,
    scores_schema,
    write_table,
)
from tests.reports.examples import DETECTORS, recoveries_table, rung, rungs_table, scores_table, spikes_table

TABLES = {
    "scores": (scores_table(["a", "b", "c"]), scores_schema(DETECTORS)),
    "no scores": (scores_table([]), scores_schema(DETECTORS)),
    "spikes": (spikes_table(), SPIKES_SCHEMA),
    "recoveries": (recoveries_table([("p0", "likely")]), RECOVERIES_SCHEMA),
    "a ladder and a search": (
        rungs_table(
            [
                rung("p0", "not_shown"),
                rung("p0", "likely", "ascend", confidence=0.9, mask_path="images/p0/mask.png", fixed_share=0.4),
                rung(None, "confirmed", "discover", finding_id="finding-002"),
            ]
        ),
        RECOVERIES_SCHEMA,
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_come_back_as_written(name: str, tmp_path: Path) -> None:
    table, schema = TABLES[name]
    path = tmp_path / "table.parquet"
    write_table(path, table, schema, {"model": "sha256:0123"})
    back = read_table(path, schema)
    assert back.equals(table)
    assert back.schema.equals(schema)
    assert read_metadata(path) == {"model": "sha256:0123"}
    assert list(tmp_path.iterdir()) == [path]


def test_pandas_polars_and_duckdb_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, *TABLES["scores"], {})
    columns = scores_schema(DETECTORS).names
    assert list(pd.read_parquet(path).columns) == columns
    assert pl.read_parquet(path).columns == columns
    rows = duckdb.sql(f"select prompt from '{path}' where flagged order by spike_score desc").fetchall()
    assert rows == [("a",), ("b",)]


def test_detectors_come_along_without_being_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, *TABLES["scores"], {})
    assert detector_columns(read_table(path, scores_schema(())).schema) == list(DETECTORS)


def test_a_frame_is_written_in_the_schemas_order_and_types(tmp_path: Path) -> None:
    table, schema = TABLES["scores"]
    shuffled = pa.Table.from_pandas(table.to_pandas()[sorted(table.column_names)], preserve_index=False)
    write_table(tmp_path / "scores.parquet", shuffled, schema, {})
    assert read_table(tmp_path / "scores.parquet", schema).schema.equals(schema)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(TABLES["scores"][0].replace_schema_metadata({"engram.schema_version": "4"}), path)
    with pytest.raises(RunFileError, match=r"schema version 4, this engram reads up to 3"):
        read_table(path, scores_schema(()))


def test_a_strangers_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(TABLES["scores"][0], path)
    with pytest.raises(RunFileError, match="not written by engram"):
        read_table(path, scores_schema(()))


def test_missing_and_mistyped_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "spikes.parquet"
    write_table(path, *TABLES["spikes"], {})
    with pytest.raises(RunFileError, match="column is_control should be bool, found none"):
        read_table(path, pa.schema([pa.field("is_control", pa.bool_())]))
    with pytest.raises(RunFileError, match="column neuron should be string, found int32"):
        read_table(path, pa.schema([pa.field("neuron", pa.string())]))


def test_a_missing_and_a_torn_table_are_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "spikes.parquet"
    with pytest.raises(RunIncompleteError, match="does not exist"):
        read_table(path, SPIKES_SCHEMA)
    write_table(path, *TABLES["spikes"], {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunIncompleteError, match="damaged"):
        read_table(path, SPIKES_SCHEMA)


def test_what_does_not_fit_the_schema_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    table, schema = TABLES["scores"]
    with pytest.raises(ValueError, match="severity"):
        write_table(path, table.drop_columns(["severity"]), schema, {})
    with pytest.raises(ValueError, match="surprise"):
        write_table(path, table.append_column("surprise", pa.array([1, 2, 3])), schema, {})
    nulls = table.set_column(0, "prompt_id", pa.array([None, "b", "c"]))
    with pytest.raises(ValueError, match="prompt_id"):
        write_table(path, nulls, schema, {})
    assert not list(tmp_path.iterdir())


def test_a_detector_may_not_take_a_column_name() -> None:
    with pytest.raises(ValueError, match="p_value"):
        scores_schema(["p_value"])
