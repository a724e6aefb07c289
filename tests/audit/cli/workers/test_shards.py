"""A run recorded by several processes equals the run of one process, and no worker outlives the command."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from flashbulb.audit.stages import record
from tests.audit.cli.workers.conftest import ONE_THREAD, SHARDS, batch_size, recorded, without_times
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


def test_a_size_cannot_be_found_where_a_base_is_read_first(inputs, tmp_path):
    options = recording(inputs, tmp_path / "run", "--batch-size", "auto", "--baseline-model", inputs.model)
    assert "give a number" in refused("record", *options, "--tiers", "screened")
    assert "--batch-size: 'much' is neither a whole number nor auto" in refused(
        "record", *recording(inputs, tmp_path / "run", "--batch-size", "much")
    )
