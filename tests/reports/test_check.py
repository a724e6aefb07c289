"""Tables and run.json tell one story, byte for byte and count for count, or the run is distrusted."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from reports.check import check_tables
from reports.files import (
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SPIKES_FILE,
    TABLE_FILES,
    RunIncompleteError,
    sha256_of,
)
from reports.neuron_groups import NEURON_GROUPS_SCHEMA
from reports.run_record import Counts, RunRecord
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, scores_schema, write_table
from tests.reports.examples import DETECTORS, run_record, scores_table, spikes_table

COUNTS = Counts(
    n_rows=3,
    n_empty=0,
    n_truncated=0,
    n_prompts=3,
    n_scored=3,
    n_left_out=0,
    n_flagged=2,
    n_high=2,
    n_confirmed_pictures=1,
    n_controls=2,
    n_false_recoveries=1,
)
ROWS = [("p0", "confirmed", False), ("p1", "likely", False), ("p2", "likely", True), ("p2", "not_shown", True)]


def recoveries() -> pa.Table:
    rows = [
        {
            "finding_id": None if is_control else f"finding-{prompt_id}",
            "prompt_id": prompt_id,
            "is_control": is_control,
            "strategy": "sample",
            "restart": 0,
            "evaluations": 1,
            "seed_agreement": 1.0,
            "verdict": verdict,
        }
        for prompt_id, verdict, is_control in ROWS
    ]
    return pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    """A record whose tables lie in `tmp_path`."""
    write_table(tmp_path / SCORES_FILE, scores_table(["a", "b", "c"]), scores_schema(DETECTORS), {})
    write_table(tmp_path / SPIKES_FILE, spikes_table(), SPIKES_SCHEMA, {})
    write_table(tmp_path / RECOVERIES_FILE, recoveries(), RECOVERIES_SCHEMA, {})
    write_table(tmp_path / NEURON_GROUPS_FILE, NEURON_GROUPS_SCHEMA.empty_table(), NEURON_GROUPS_SCHEMA, {})
    tables = {name: sha256_of(tmp_path / name) for name in TABLE_FILES}
    return run_record(counts=COUNTS, tables=tables)


def test_tables_that_agree_are_trusted(tmp_path: Path, run: RunRecord) -> None:
    check_tables(tmp_path, run)


@pytest.mark.parametrize(
    "name",
    ["n_scored", "n_left_out", "n_flagged", "n_high", "n_confirmed_pictures", "n_controls", "n_false_recoveries"],
)
@pytest.mark.parametrize("change", [-1, 1])
def test_every_count_that_the_verdict_uses_is_held_against_the_tables(
    tmp_path: Path, run: RunRecord, name: str, change: int
) -> None:
    stated = getattr(COUNTS, name) + change
    edited = replace(run, counts=replace(COUNTS, **{name: stated}))
    with pytest.raises(RunIncompleteError, match=f"states {stated} .*, the tables hold {stated - change}"):
        check_tables(tmp_path, edited)


@pytest.mark.parametrize("name", TABLE_FILES)
def test_table_that_is_missing_torn_or_another_is_distrusted(tmp_path: Path, run: RunRecord, name: str) -> None:
    content = (tmp_path / name).read_bytes()
    for spoilt in (b"", content[:-1], content + b"\0", content[:99] + b"\xff" + content[100:]):
        (tmp_path / name).write_bytes(spoilt)
        with pytest.raises(RunIncompleteError, match=r"is not the file that run\.json describes"):
            check_tables(tmp_path, run)
    (tmp_path / name).unlink()
    with pytest.raises(RunIncompleteError, match="does not exist"):
        check_tables(tmp_path, run)


def test_record_without_digests_is_distrusted(tmp_path: Path, run: RunRecord) -> None:
    with pytest.raises(RunIncompleteError, match="is not the file"):
        check_tables(tmp_path, replace(run, tables={}))
