"""A prompt of an ablation is finished only where its rows and images are those that were written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.reports.tables.files import RunFileError, RunIncompleteError
from flashbulb.reports.tables.schema import read_table
from flashbulb.reports.views.ablation import ABLATION_FILE, ABLATION_SCHEMA, effect_of, finished_rows, write_effects
from tests.reports.ablation_examples import HOSTILE, rows, with_images


def test_the_table_reads_back_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    both = [*rows("p2"), *rows("p1", HOSTILE)]
    write_effects(tmp_path, both, {"model_fingerprint": "0" * 16})
    back = read_table(tmp_path / ABLATION_FILE, ABLATION_SCHEMA).to_pylist()
    assert back == both
    assert [effect_of(back[:3]), effect_of(back[3:])] == [effect_of(rows("p2")), effect_of(rows("p1", HOSTILE))]


def test_a_prompt_is_finished_only_if_all_its_images_exist(tmp_path: Path) -> None:
    both = [*rows("p1"), *rows("p2")]
    assert finished_rows(tmp_path, {}) == {}
    write_effects(with_images(tmp_path, both), both, {})
    assert finished_rows(tmp_path, {}) == {"p1": rows("p1"), "p2": rows("p2")}
    (tmp_path / "images/p1/after/seed-1.png").unlink()
    (tmp_path / "panels/p2.png").unlink()
    assert finished_rows(tmp_path, {}) == {}


def test_a_torn_table_has_no_finished_prompt_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    write_effects(with_images(tmp_path, rows()), rows(), {})
    path = tmp_path / ABLATION_FILE
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert finished_rows(tmp_path, {}) == {}
    newer = ABLATION_SCHEMA.with_metadata({"flashbulb.schema_version": "99"})
    pq.write_table(pa.Table.from_pylist(rows(), schema=newer), path)
    with pytest.raises(RunFileError, match="schema version 99"):
        finished_rows(tmp_path, {})


def test_rows_of_another_ablation_are_not_finished(tmp_path: Path) -> None:
    write_effects(with_images(tmp_path, rows()), rows(), {"identity": "of this one"})
    assert finished_rows(tmp_path, {"identity": "of this one"}) == {"p1": rows()}
    assert finished_rows(tmp_path, {"identity": "of another"}) == {}
    assert finished_rows(tmp_path, {"identity": "of this one", "neurons_sha256": "3"}) == {}


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "x\x00.png"])
def test_an_image_outside_of_the_ablation_is_refused(tmp_path: Path, path: str) -> None:
    hostile = [row | {"after_path": path} for row in rows()]
    write_effects(tmp_path, hostile, {})
    with_images(tmp_path, rows())
    with pytest.raises(RunIncompleteError, match=r"ablation\.parquet: the path .* leads out"):
        finished_rows(tmp_path, {})


def test_a_table_with_other_values_than_were_written_has_no_finished_prompt(tmp_path: Path) -> None:
    write_effects(with_images(tmp_path, rows()), rows(), {})
    path = tmp_path / ABLATION_FILE
    table = pq.read_table(path)
    changed = [*rows()[:-1], {**rows()[-1], "tile_distance": 0.125}]
    pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), path)
    assert finished_rows(tmp_path, {}) == {}
