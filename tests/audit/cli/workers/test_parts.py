"""A run recorded part by part, or by the ranks of a cluster, and merged equals the run of one process."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.audit.cli.workers.conftest import ONE_THREAD, SHARDS, batch_size, recorded, without_times
from tests.audit.commands import CANDIDATES, digests, refused, run_flashbulb, text_file
from tests.audit.conftest import recording
from tests.processes import fork_flashbulb


@pytest.fixture(scope="module")
def parts(inputs, tmp_path_factory) -> Path:
    """A run of which two parts are recorded, and nothing is merged. Read-only."""
    run = tmp_path_factory.mktemp("parts") / "run"
    for number in (2, 1):
        answer = run_flashbulb("record", *recording(inputs, run, *SHARDS, "--shard", f"{number}/2"))
        assert answer.code == 0, answer.err
        assert "flashbulb merge" in answer.out
    return run


@pytest.fixture
def copied_parts(parts, tmp_path) -> Path:
    """A copy of the parts that a test may change."""
    shutil.copytree(f"{parts}.shards", tmp_path / "run.shards")
    return tmp_path / "run"


def test_merged_parts_equal_the_whole_and_can_be_detected(whole, copied_parts, tmp_path):
    answer = run_flashbulb("merge", copied_parts)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        f"{len(CANDIDATES)} prompts recorded in {copied_parts}",
        f"Next: flashbulb detect {copied_parts}",
    ]
    assert recorded(copied_parts) == recorded(whole)
    assert without_times(copied_parts) == without_times(whole)
    copied_whole = shutil.copytree(whole, tmp_path / "whole")
    for run in (copied_parts, copied_whole):
        assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    assert digests(copied_parts)["scores.parquet"] == digests(copied_whole)["scores.parquet"]
    assert "already detected" in run_flashbulb("merge", copied_parts).err


def test_a_missing_part_is_refused_with_what_is_there(copied_parts):
    shutil.rmtree(f"{copied_parts}.shards/2-of-2")
    line = refused("merge", copied_parts)
    assert "shards of reference are missing, the first is number 1;" in line
    assert "holds 1-of-2; record the others with the same command and their --shard" in line
    assert not copied_parts.exists()


def test_a_damaged_shard_is_refused(copied_parts):
    path = next(Path(f"{copied_parts}.shards").rglob("2-of-2/activations/candidates/step/part-*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    assert "1 of 3 shards of candidates are missing, the first is number 1;" in refused("merge", copied_parts)


def test_parts_of_other_prompts_are_refused(inputs, copied_parts, tmp_path):
    shutil.rmtree(f"{copied_parts}.shards/2-of-2")
    other = inputs._replace(prompts=text_file(tmp_path / "other.txt", CANDIDATES[1:]))
    assert run_flashbulb("record", *recording(other, copied_parts, *SHARDS, "--shard", "2/2")).code == 0
    line = refused("merge", copied_parts)
    assert "1-of-2 and " in line
    assert "do not belong together: prompts_sha256 is" in line


def test_a_part_is_no_run_and_a_run_without_parts_cannot_be_merged(parts, tmp_path):
    assert "one shard of a recording" in refused("gate", f"{parts}.shards/1-of-2", code=3)
    assert "holds no audit" in refused("detect", f"{parts}.shards/1-of-2")
    assert "holds no recorded shard" in refused("merge", tmp_path / "nothing")


@pytest.mark.parametrize(("rank", "size"), [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")])
def test_the_first_rank_merges_what_all_ranks_recorded(inputs, whole, tmp_path, rank, size):
    run = tmp_path / "run"
    ranks = [
        fork_flashbulb(
            "record",
            *recording(inputs, run, *SHARDS, "--shard", "ranks"),
            environment={**ONE_THREAD, rank: str(number), size: "2"},
        )
        for number in (0, 1)
    ]
    for ended in (process.wait() for process in ranks):
        assert ended.code == 0, ended.err
    assert recorded(run) == recorded(whole)
    assert without_times(run) == without_times(whole)


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("0", "many"), ("", "2"), ("0", "0")])
def test_a_rank_that_is_none_of_so_many_is_refused(inputs, tmp_path, monkeypatch, rank, size):
    """Such a process would record nothing and end well."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    line = refused("record", *recording(inputs, tmp_path / "run", "--shard", "ranks"))
    assert f"RANK is {rank!r} and WORLD_SIZE {size!r}" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["LOCAL_RANK", "SLURM_LOCALID"])
def test_a_local_rank_that_is_no_number_is_refused(inputs, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "first")
    line = refused("record", *recording(inputs, tmp_path / "run", "--shard", "1/2"))
    assert line.endswith(f"{name} is 'first', not the number of a process on this machine; unset it")
    assert not list(tmp_path.iterdir())


def test_the_first_rank_gives_up_on_a_rank_that_never_starts(inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = refused("record", *recording(inputs, tmp_path / "run", "--shard", "ranks", "--worker-timeout", "0.1"))
    assert "run.shards/2-of-2 and 0 others of 2 show no progress for 0.1 s" in line
    assert json.loads((tmp_path / "run.shards" / "1-of-2" / "run.json").read_text())["status"] == "shard"
    assert os.environ["RANK"] == "0"


def test_parts_agree_on_the_size_that_the_first_of_them_found(inputs, tmp_path, monkeypatch):
    # finding it takes seconds
    monkeypatch.setattr("flashbulb.audit.stages.opening.session.find_batch_size", lambda *_: 32)
    run = tmp_path / "run"
    options = recording(inputs, run, *SHARDS, "--batch-size", "auto")
    assert run_flashbulb("record", *options, "--shard", "1/2").code == 0
    agreed = Path(f"{run}.shards/batch_size.json")
    agreed.write_text(json.dumps({**json.loads(agreed.read_text()), "batch_size": 6}))
    for part in ("1/2", "2/2"):
        assert run_flashbulb("record", *options, "--shard", part, "--force").code == 0
        assert batch_size(Path(f"{run}.shards/{part.replace('/', '-of-')}")) == 6
    assert run_flashbulb("merge", run).code == 0
    assert batch_size(run) == 6


def test_parts_of_other_batch_sizes_are_refused(inputs, copied_parts):
    again = recording(inputs, copied_parts, *SHARDS, "--shard", "2/2", "--force", "--batch-size", "3")
    assert run_flashbulb("record", *again).code == 0
    line = refused("merge", copied_parts)
    assert "1-of-2 was recorded with --batch-size 32, " in line
    assert "2-of-2 with 3, which rounds differently; record one of them again" in line
