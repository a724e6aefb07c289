"""A run directory that is damaged, edited or mixed with another never passes the gate."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.audit.cli.damage import flip_a_byte, remove
from tests.audit.commands import CANDIDATES, edit_run_json, run_flashbulb, text_file
from tests.reports.run_files import seal_again
from tests.reports.spoilers import edit


def truncate(name: str, keep: float) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(keep * len(content))])

    return damage


def change_table(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        table = pq.read_table(run / name)
        pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), run / name)

    return damage


def set_column(name: str, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index, field = table.schema.get_field_index(name), table.schema.field(name)
        return table.set_column(index, field, pa.array([value] * len(table), field.type))

    return change


def pretend_to_pass(run: Path) -> None:
    edit_run_json(run, "verdict", value={"outcome": "pass", "exit_code": 0, "reasons": ["fine"]})


def pretend_nothing_was_found(run: Path) -> None:
    pretend_to_pass(run)
    for name in ("n_flagged", "n_high", "n_confirmed_pictures", "n_controls", "n_false_recoveries"):
        edit_run_json(run, "counts", name, value=0)


def pretend_there_were_no_prompts(run: Path) -> None:
    pretend_nothing_was_found(run)
    for name in ("n_rows", "n_prompts", "n_scored"):
        edit_run_json(run, "counts", name, value=0)


def no_rows(run: Path) -> None:
    change_table("scores.parquet", lambda table: table.slice(0, 0))(run)
    change_table("recoveries.parquet", lambda table: table.slice(0, 0))(run)
    pretend_there_were_no_prompts(run)


def turn_into_json(text: str) -> Callable[[Path], None]:
    return lambda run: (run / "run.json").write_text(text, encoding="utf-8") and None


DAMAGE = {
    "no scores": remove("scores.parquet"),
    "no spikes": remove("spikes.parquet"),
    "no recoveries": remove("recoveries.parquet"),
    "no run.json": remove("run.json"),
    "empty scores file": truncate("scores.parquet", 0),
    "torn scores": truncate("scores.parquet", 0.6),
    "torn spikes": truncate("spikes.parquet", 0.99),
    "torn recoveries": truncate("recoveries.parquet", 0.3),
    "bit flip in scores": flip_a_byte("scores.parquet"),
    "bit flip in recoveries": flip_a_byte("recoveries.parquet"),
    "scores without rows": change_table("scores.parquet", lambda table: table.slice(0, 0)),
    "scores without flags": change_table("scores.parquet", set_column("flagged", False)),
    "scores of no severity": change_table("scores.parquet", set_column("severity", "none")),
    "scores without a column": change_table("scores.parquet", lambda table: table.drop_columns(["p_value"])),
    "recoveries not shown": change_table("recoveries.parquet", set_column("verdict", "not_shown")),
    "recoveries without controls": change_table("recoveries.parquet", set_column("is_control", False)),
    "text instead of a table": lambda run: (run / "scores.parquet").write_text("prompt_id,flagged\n") and None,
    "torn run.json": truncate("run.json", 0.7),
    "empty run.json": truncate("run.json", 0),
    "run.json is a list": turn_into_json("[]"),
    "run.json is bare": turn_into_json('{"schema_version": 1, "status": "complete"}'),
    "running": edit("status", value="running"),
    "interrupted": edit("status", value="interrupted"),
    "newer": edit("schema_version", value=99),
    "problem": edit("problems", value=["a site did not fire"]),
    "no counts": edit("counts", value={}),
    "no tables": edit("tables", value={}),
    "flags edited": edit("counts", "n_flagged", value=0),
    "high edited": edit("counts", "n_high", value=0),
    "images edited": edit("counts", "n_confirmed_pictures", value=0),
    "controls edited": edit("counts", "n_controls", value=1000),
    "more prompts than scores": edit("counts", "n_prompts", value=1000),
    "fewer prompts than scores": edit("counts", "n_prompts", value=1),
    "rate of nan": edit("calibration", "fpr", value=float("nan")),
    "verdict edited": pretend_to_pass,
    "all counts edited": pretend_nothing_was_found,
    "nothing asked": pretend_there_were_no_prompts,
    "nothing there": no_rows,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_or_edited_run_never_passes(copied, damage):
    damage(copied)
    answer = run_flashbulb("gate", copied)
    assert answer.code in (1, 2, 3), answer
    assert "Traceback" not in answer.err


def test_edited_verdict_is_told_by_the_seal_and_recomputed_where_it_was_sealed_again(copied):
    pretend_to_pass(copied)
    assert run_flashbulb("gate", copied).code == 3
    seal_again(copied)
    assert run_flashbulb("gate", copied).code == 1


def test_tables_of_another_run_are_refused(inputs, finished, copied, tmp_path):
    other = tmp_path / "other"
    prompts = text_file(tmp_path / "other.txt", CANDIDATES[:-1])
    options = inputs._replace(prompts=prompts).options(other)
    assert run_flashbulb("audit", *options, "--max-sampled", "0").code == 0
    for name in ("scores.parquet", "recoveries.parquet"):
        shutil.copy(other / name, copied / name)
        assert run_flashbulb("gate", copied).code == 3
        shutil.copy(finished.run / name, copied / name)
    shutil.copy(other / "run.json", copied / "run.json")
    assert run_flashbulb("gate", copied).code == 3
    assert run_flashbulb("gate", finished.run / "images").code == 2
    assert run_flashbulb("gate", tmp_path / "nowhere").code == 2
