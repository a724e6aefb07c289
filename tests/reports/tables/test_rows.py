"""Rows of a table that stays in its file are those of the table, and only those that are asked for become objects."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flashbulb.reports.tables.files import RunFileError, RunIncompleteError
from flashbulb.reports.tables.rows import StoredTable, highest_rows, iter_column, iter_rows, take_rows
from flashbulb.reports.tables.schema import TableRow, required_column, write_table

SCHEMA = pa.schema([required_column("name", pa.string()), required_column("score", pa.float64())])
N_ROWS = 10_000  # more than are read at once


@pytest.fixture(scope="module")
def held() -> pa.Table:
    scores = np.random.default_rng(0).integers(0, 500, N_ROWS).astype(float)  # many are equal
    return pa.table({"name": [f"p{i}" for i in range(N_ROWS)], "score": scores}, SCHEMA)


@pytest.fixture
def stored(tmp_path: Path, held: pa.Table) -> StoredTable:
    write_table(tmp_path / "table.parquet", held, SCHEMA, {})
    return StoredTable(tmp_path / "table.parquet", SCHEMA)


def test_a_stored_table_has_the_rows_of_the_table(stored: StoredTable, held: pa.Table) -> None:
    assert stored.num_rows == held.num_rows
    assert list(iter_rows(stored, ["name", "score"])) == held.to_pylist()
    assert list(iter_column(stored, "name")) == list(iter_column(held, "name")) == held["name"].to_pylist()
    positions = [N_ROWS - 1, 3, 5000, 3]
    assert take_rows(stored, positions) == take_rows(held, positions) == [held.to_pylist()[i] for i in positions]
    assert take_rows(stored, []) == []


def test_highest_rows_are_the_first_of_a_stable_sort(stored: StoredTable, held: pa.Table) -> None:
    def rank(row: TableRow) -> float | None:
        return None if row["score"] > 400 else row["score"]

    ranked = [row for row in held.to_pylist() if rank(row) is not None]
    expected = sorted(ranked, key=lambda row: -row["score"])[:50]
    assert highest_rows(stored, 50, ["score"], rank) == highest_rows(held, 50, ["score"], rank) == expected


def test_what_arrow_holds_of_a_stored_table_does_not_depend_on_its_rows(tmp_path: Path) -> None:
    def most_held(n_rows: int) -> int:
        path = tmp_path / f"{n_rows}.parquet"
        names = [f"a prompt of some length, of which no other has the number {i}" for i in range(n_rows)]
        write_table(path, pa.table({"name": names, "score": np.arange(float(n_rows))}, SCHEMA), SCHEMA, {})
        before, most = pa.total_allocated_bytes(), 0
        table = StoredTable(path, SCHEMA)
        for batch in table.to_batches(1000):
            most = max(most, pa.total_allocated_bytes() - before)
            del batch
        return most

    few, many = most_held(100_000), most_held(400_000)
    assert many < 1.2 * few


def test_rows_are_those_that_were_checked_though_another_file_takes_their_place(
    tmp_path: Path, stored: StoredTable, held: pa.Table
) -> None:
    write_table(tmp_path / "table.parquet", held.slice(0, 5), SCHEMA, {})
    assert len(list(iter_rows(stored, ["score"]))) == N_ROWS


def test_a_stored_table_is_checked_when_it_is_opened(tmp_path: Path, held: pa.Table) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(RunIncompleteError, match="does not exist"):
        StoredTable(path, SCHEMA)
    write_table(path, held, SCHEMA, {})
    with pytest.raises(RunFileError, match="column other should be int8, found none"):
        StoredTable(path, pa.schema([required_column("other", pa.int8())]))
    damaged = bytearray(path.read_bytes())
    damaged[2000:3000] = bytes(1000)
    path.write_bytes(damaged)
    with pytest.raises(RunIncompleteError, match="is damaged"):
        StoredTable(path, SCHEMA)
