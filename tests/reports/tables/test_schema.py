"""Tables read back as written in every reader, and files that flashbulb did not write are refused."""

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.reports.tables.files import SCHEMA_VERSION, SPIKES_FILE, RunFileError, RunIncompleteError
from flashbulb.reports.tables.schema import (
    RECOVERIES_SCHEMA,
    SPIKES_SCHEMA,
    detector_columns,
    read_table,
    scores_schema,
    write_table,
)
from tests.reports.examples import DETECTORS, attempt, attempts_table, recoveries_table, scores_table, spikes_table
from tests.reports.run_files import read_metadata

TABLES = {
    "scores": (scores_table(["a", "b", "c"]), scores_schema(DETECTORS)),
    "no scores": (scores_table([]), scores_schema(DETECTORS)),
    "spikes": (spikes_table(), SPIKES_SCHEMA),
    "recoveries": (recoveries_table([("p0", "likely")]), RECOVERIES_SCHEMA),
    "a ladder and a search": (
        attempts_table(
            [
                attempt("p0", "not_shown"),
                attempt("p0", "likely", "ascend", confidence=0.9, mask_path="images/p0/mask.png", fixed_share=0.4),
                attempt(None, "confirmed", "discover", finding_id="finding-002"),
            ]
        ),
        RECOVERIES_SCHEMA,
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_read_back_as_written(name: str, tmp_path: Path) -> None:
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


def test_detector_columns_are_kept_without_being_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, *TABLES["scores"], {})
    assert detector_columns(read_table(path, scores_schema(())).schema) == list(DETECTORS)


def test_a_data_frame_is_written_with_the_order_and_types_of_the_schema(tmp_path: Path) -> None:
    table, schema = TABLES["scores"]
    shuffled = pa.Table.from_pandas(table.to_pandas()[sorted(table.column_names)], preserve_index=False)
    write_table(tmp_path / "scores.parquet", shuffled, schema, {})
    assert read_table(tmp_path / "scores.parquet", schema).schema.equals(schema)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path, newer = tmp_path / "scores.parquet", SCHEMA_VERSION + 1
    pq.write_table(TABLES["scores"][0].replace_schema_metadata({"flashbulb.schema_version": str(newer)}), path)
    with pytest.raises(RunFileError, match=f"schema version {newer}, this flashbulb reads up to {SCHEMA_VERSION}"):
        read_table(path, scores_schema(()))


def test_a_table_without_a_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(TABLES["scores"][0], path)
    with pytest.raises(RunFileError, match="not written by flashbulb"):
        read_table(path, scores_schema(()))


def test_missing_columns_and_wrong_types_are_named(tmp_path: Path) -> None:
    path = tmp_path / "spikes.parquet"
    write_table(path, *TABLES["spikes"], {})
    with pytest.raises(RunFileError, match="column is_control should be bool, found none"):
        read_table(path, pa.schema([pa.field("is_control", pa.bool_())]))
    with pytest.raises(RunFileError, match="column neuron should be string, found int32"):
        read_table(path, pa.schema([pa.field("neuron", pa.string())]))


def test_missing_and_torn_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "spikes.parquet"
    with pytest.raises(RunIncompleteError, match="does not exist"):
        read_table(path, SPIKES_SCHEMA)
    write_table(path, *TABLES["spikes"], {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunIncompleteError, match="damaged"):
        read_table(path, SPIKES_SCHEMA)


def test_a_table_that_does_not_fit_its_schema_is_not_written(tmp_path: Path) -> None:
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


def test_a_detector_cannot_have_the_name_of_another_column() -> None:
    with pytest.raises(ValueError, match="p_value"):
        scores_schema(["p_value"])


def test_an_older_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SPIKES_FILE
    write_table(path, spikes_table(), SPIKES_SCHEMA, {})
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"flashbulb.schema_version": b"1"}), path)
    with pytest.raises(
        RunFileError, match=f"has schema version 1, this flashbulb reads {SCHEMA_VERSION}; run the audit"
    ):
        read_table(path, SPIKES_SCHEMA)


def test_folders_with_an_equals_sign_add_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "severity=none" / "seed=1" / SPIKES_FILE
    path.parent.mkdir(parents=True)
    write_table(path, spikes_table(), SPIKES_SCHEMA, {})
    assert read_table(path, SPIKES_SCHEMA).column_names == SPIKES_SCHEMA.names
