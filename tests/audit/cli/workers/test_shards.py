"""A run recorded by several processes, or part by part and merged, equals the run of one process."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest

from flashbulb.audit.stages import record
from tests.audit.commands import (
    CANDIDATES,
    REFERENCE,
    digests,
    edit_run_json,
    refused,
    run_flashbulb,
    run_json,
    shards,
    text_file,
    wait_for,
)
from tests.audit.conftest import recording
from tests.processes import fork_flashbulb

SHARDS = ("--shard-size", "2")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def recorded(run: Path) -> dict[str, str]:
    """Return the hashes of all that was recorded, but for the file that says how long it took."""
    return {name: digest for name, digest in digests(run / "activations").items() if name != "recording.json"}


def without_times(run: Path) -> dict[str, object]:
    """Return run.json without seconds and without what differs by intention: the folder and the workers."""
    content = run_json(run)
    settings = {name: value for name, value in content["settings"].items() if name not in ("out", "workers")}
    return {**content, "timings": None, "settings": settings}


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory) -> Path:
    """The recording of one process. Read-only."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_flashbulb("record", *recording(inputs, run, *SHARDS)).code == 0
    return run


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


def test_workers_record_what_one_process_records(inputs, whole, tmp_path):
    run = tmp_path / "run"
    ended = fork_flashbulb("record", *recording(inputs, run, *SHARDS, "--workers", "2"), environment=ONE_THREAD).wait()
    assert ended.code == 0, ended.err
    assert recorded(run) == recorded(whole)
    assert without_times(run) == without_times(whole)
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_a_killed_coordinator_leaves_no_worker_and_the_same_command_finishes_the_run(inputs, tmp_path):
    many = text_file(tmp_path / "many.txt", [f"a star over the sea, number {i}" for i in range(12)])
    options = recording(inputs._replace(prompts=many), tmp_path / "run", "--shard-size", "1", "--workers", "2")
    before = set(psutil.Process().children(recursive=True))
    first = fork_flashbulb("record", *options, environment=ONE_THREAD)
    wait_for(tmp_path / "run" / "activations" / "candidates" / "step" / "part-00000.json", first)
    first.send_signal(signal.SIGSTOP)
    assert "is held by process" in refused("record", *options)  # a second coordinator
    started = set(psutil.Process().children(recursive=True)) - before
    others = {first.process.pid, os.getpid()}  # children of this process are no workers, but the server of forks
    workers = [process for process in started if process.pid not in others and process.ppid() != os.getpid()]
    assert len(workers) >= 2
    first.send_signal(signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL
    assert not psutil.wait_procs(workers, timeout=60)[1]
    kept = {name: time for name, time in shards(tmp_path / "run").items() if "part-00000" in name}
    assert fork_flashbulb("record", *options, environment=ONE_THREAD).wait().code == 0
    assert run_json(tmp_path / "run")["status"] == "recorded"
    assert kept.items() <= shards(tmp_path / "run").items()
    assert len(shards(tmp_path / "run")) == 4 * (12 + len(REFERENCE))
    assert not list((tmp_path / "run").rglob("*.part"))


def test_merged_parts_equal_the_whole_and_can_be_detected(whole, copied_parts, tmp_path):
    answer = run_flashbulb("merge", copied_parts)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        f"{len(CANDIDATES)} prompts recorded in {copied_parts}",
        f"Next: flashbulb detect {copied_parts}",
    ]
    assert recorded(copied_parts) == recorded(whole)
    assert without_times(copied_parts) == without_times(whole)
    of_whole = shutil.copytree(whole, tmp_path / "whole")
    for run in (copied_parts, of_whole):
        assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    assert digests(copied_parts)["scores.parquet"] == digests(of_whole)["scores.parquet"]
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


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--shard", "0/2"), "is neither i/n"),
        (("--shard", "3/2"), "is neither i/n"),
        (("--shard", "half"), "is neither i/n"),
        (("--shard", "ranks"), "needs RANK and WORLD_SIZE"),
        (("--shard", "1/2", "--tiers", "screened"), "--shard needs --tiers full"),
        (("--ray-address", "head:6379"), "--ray-address head:6379 needs --executor ray"),
        (("--executor", "ray", "--workers", "auto"), "counts the cores and GPUs of this machine only; give a number"),
        (("--workers", "0"), "--workers: Input should be greater than or equal to 1"),
        (("--workers", "all"), "--workers: 'all' is neither a whole number nor auto"),
        (("--executor", "ray", "--device", "cuda:1"), "names a GPU of one machine, Ray chooses; give --device cuda"),
        (("--executor", "ray", "--ray-address", "ray://head:10001"), "is for the client of Ray; run the command on a"),
        (("--executor", "slurm"), "'slurm'"),
    ],
)
def test_a_shard_that_cannot_be_recorded_is_refused(inputs, tmp_path, monkeypatch, options, line):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert line in refused("record", *recording(inputs, tmp_path / "run", *options))
    assert not list(tmp_path.iterdir())


def test_where_one_worker_fits_the_command_works_by_itself(whole, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "open_workers", None)  # nothing may start any
    monkeypatch.setattr(record, "fitting_workers", lambda *_: 1)
    answer = run_flashbulb("record", *recording(inputs, tmp_path / "run", *SHARDS, "--workers", "auto"))
    assert answer.code == 0, answer.err
    assert recorded(tmp_path / "run") == recorded(whole)


def test_ray_that_is_not_installed_is_named_with_its_extra(inputs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    for command in ("record", "audit"):
        line = refused(command, *recording(inputs, tmp_path / "run", "--executor", "ray"))
        assert "pip install 'flashbulb[ray]'" in line
    assert not list(tmp_path.iterdir())


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


def test_the_first_rank_gives_up_on_a_rank_that_never_starts(inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = refused("record", *recording(inputs, tmp_path / "run", "--shard", "ranks", "--worker-timeout", "0.1"))
    assert "run.shards/2-of-2 and 0 others of 2 show no progress for 0.1 s" in line
    assert json.loads((tmp_path / "run.shards" / "1-of-2" / "run.json").read_text())["status"] == "shard"
    assert os.environ["RANK"] == "0"


def audited(inputs, run: Path, *more: object) -> dict[str, str]:
    """Audit drawn prompts and return the hashes of all files but those that state times, paths or workers."""
    options = (*inputs.options(run), "--sample", len(CANDIDATES) - 1, "--seed-budget", "60", "--batch-size", "2")
    ended = fork_flashbulb("audit", *options, "--propensity", "3", *more, environment=ONE_THREAD).wait()
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert "leaked semaphore" not in ended.err
    own = {"run.json", "activations/recording.json", "report.html", "summary.md", "results.sarif", "junit.xml"}
    return {name: digest for name, digest in digests(run).items() if name not in own}


@pytest.mark.slow
def test_an_audit_of_drawn_prompts_with_workers_finds_what_one_process_finds(inputs, finished, tmp_path):
    training = ("--train-images", finished.run.parent / "training")
    alone = audited(inputs, tmp_path / "alone", *training)
    together = audited(inputs, tmp_path / "together", *training, "--workers", "2")
    assert together == alone
    assert {name.split("/")[0] for name in alone} >= {"activations", "images", "recovery", "findings.jsonl"}
    runs = [without_times(tmp_path / name) for name in ("alone", "together")]
    differing = {name for name in runs[0].keys() | runs[1].keys() if runs[0].get(name) != runs[1].get(name)}
    assert differing <= {"started", "finished", "seal", "options"}


def batch_size(run: Path) -> object:
    return run_json(run)["settings"]["batch_size"]


def test_a_batch_size_that_was_found_is_kept_for_all_that_continues_the_recording(inputs, tmp_path):
    run = tmp_path / "run"
    options = recording(inputs, run, *SHARDS, "--batch-size", "auto")
    answer = run_flashbulb("record", *options)
    assert answer.code == 0, answer.err
    assert "latents per call of the denoiser, chosen by speed" in answer.err
    edit_run_json(run, "settings", "batch_size", value=6)  # as if it had been chosen: no power of two
    next((run / "activations").rglob("part-00000.json")).unlink()
    again = run_flashbulb("record", *options)
    assert again.code == 0, again.err
    assert "chosen by speed" not in again.err
    assert batch_size(run) == 6
    assert run_flashbulb("detect", run, "--fpr", "0.2").code == 0
    quick = ("--samples", "2", "--sample-steps", "2", "--strategy", "sample")
    assert run_flashbulb("recover", run, *quick, "--batch-size", "auto").code == 0
    assert batch_size(run) == 6


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


def test_a_size_cannot_be_found_where_a_base_is_read_first(inputs, tmp_path):
    options = recording(inputs, tmp_path / "run", "--batch-size", "auto", "--baseline-model", inputs.model)
    assert "give a number" in refused("record", *options, "--tiers", "screened")
    assert "--batch-size: 'much' is neither a whole number nor auto" in refused(
        "record", *recording(inputs, tmp_path / "run", "--batch-size", "much")
    )
