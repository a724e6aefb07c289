"""What an audit has read or made stays in hand: shards are read twice at most, tables written and opened once."""

from collections import Counter

import pytest

from flashbulb.reports.tables.files import TABLE_FILES, sha256_of
from tests.audit.commands import CANDIDATES, REFERENCE, refused, run_flashbulb, run_json, text_file
from tests.audit.counting import counted_latents, counted_reads, counted_tables

ASCENT = ("--strategy", "sample", "--strategy", "ascend", "--ascend-steps", "1", "--ascend-restarts", "1")
SMALL = ("--shard-size", "2")


def candidate_columns(reads: Counter) -> dict:
    return {(path, column): n for (path, column), n in reads.items() if "candidates" in path.parts}


@pytest.mark.parametrize("has_reference", [True, False])
def test_an_audit_reads_no_column_of_a_candidate_shard_more_than_twice(inputs, tmp_path, has_reference):
    prompts = inputs.prompts if has_reference else text_file(tmp_path / "p.txt", [*CANDIDATES, *REFERENCE])
    options = [*inputs._replace(prompts=prompts).options(tmp_path / "run"), *ASCENT, *SMALL]
    if not has_reference:
        del options[4:6]
    with counted_reads() as reads, counted_tables() as tables:
        answer = run_flashbulb("audit", *options)
    assert answer.code == 0, answer.err
    assert run_json(tmp_path / "run")["counts"]["n_controls"] > 0
    columns = candidate_columns(reads)
    assert len({path for path, _ in columns}) >= 6
    assert max(columns.values()) == 2
    assert {name: tables.written[name] for name in TABLE_FILES} == dict.fromkeys(TABLE_FILES, 1)
    assert {name: tables.read[name] for name in TABLE_FILES} == dict.fromkeys(TABLE_FILES, 1)


@pytest.mark.parametrize("command", [("report",), ("gate",)])
def test_commands_on_a_finished_audit_read_each_table_once(copied, tmp_path, command):
    with counted_tables() as tables:
        run_flashbulb(*command, copied, *(("--out", tmp_path / "page.html") if command == ("report",) else ()))
    assert tables.read == dict.fromkeys(TABLE_FILES, 1)


def test_detection_writes_the_scores_of_an_audit_that_was_interrupted_before_it_did(finished, at):
    run = at("recorded")
    options = [run if option == finished.run else option for option in finished.options]
    with counted_latents(stop_after=4):
        assert run_flashbulb("audit", *options).code == 130
    assert run_json(run)["status"] == "interrupted"
    assert "scores.parquet" not in run_json(run)["tables"]
    assert not (run / "scores.parquet").exists()
    assert "there are no scores yet" in refused("show", run, CANDIDATES[0], code=3)
    assert run_flashbulb("detect", run).code == 0
    assert run_flashbulb("show", run, CANDIDATES[0]).code == 0
    assert run_flashbulb("audit", *options).code == 0
    for name in TABLE_FILES:
        assert sha256_of(run / name) == sha256_of(finished.run / name), name
