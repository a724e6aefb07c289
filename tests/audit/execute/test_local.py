"""Shards recorded by several processes, of which some are killed or stop, equal those of one process bit for bit."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from flashbulb.audit.additions.chosen import ChosenModel
from flashbulb.audit.execute.local import MAX_LOSSES, LocalWorkers, WorkersLost, local_workers
from flashbulb.audit.execute.spec import RecorderSpec
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.loading import flushed_denormals, load_model
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.record.recorder import Plan
from flashbulb.audit.record.sets import Executor, Part, record_set
from tests.audit.commands import digests

MANIFEST = {"fingerprint": "abc"}
N_PROMPTS, SHARD_SIZE = 22, 2
PATIENT = 300.0


def prompts() -> list[Prompt]:
    return [Prompt(f"id-{i:02d}", f"a star over the sea, number {i}", "prompts.txt", i, 1) for i in range(N_PROMPTS)]


class Lost(NamedTuple):
    """A recording that lost workers: its folder and what was logged."""

    folder: Path
    log: list[str]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let this process round like a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def spec(inputs) -> RecorderSpec:
    model = str(inputs.model)
    fingerprint = load_model(model, device="cpu", dtype=torch.float32, allow_pickle=False).fingerprint
    plan = Plan(run_seed=7, n_seeds=2, timestep=981, batch_size=2, shard_size=SHARD_SIZE)
    kinds = ("text_mlp", "cross_k", "feed_forward")
    return RecorderSpec(
        ChosenModel(model), False, fingerprint, "float32", "cpu", None, kinds, ("anisotropy", "nemo"), plan
    )


@pytest.fixture(scope="module")
def alone(spec, tmp_path_factory) -> Path:
    """The recording of one process. Read-only."""
    folder = tmp_path_factory.mktemp("alone")
    with one_thread(), flushed_denormals(), spec.opened() as recorder:
        record_set(recorder, prompts(), folder, MANIFEST, "alone")
    return folder


class Accidents:
    """Kills one worker and stops another in the middle of their shards."""

    def __init__(self, workers: LocalWorkers) -> None:
        self.plan, self.initial_evaluations = workers.plan, workers.initial_evaluations
        self._workers, self.n_prompts = workers, 0

    def record_shards(self, shards, advance) -> None:
        def watch(n: int = 1, remark: str = "") -> None:
            advance(n)
            before, self.n_prompts = self.n_prompts, self.n_prompts + max(n, 0)
            if n <= 0:  # a shard was taken back
                self._workers.timeout = PATIENT
            elif before <= 3 < self.n_prompts:
                os.kill(active_children()[0].pid, signal.SIGKILL)
            elif before <= 11 < self.n_prompts:
                os.kill(active_children()[0].pid, signal.SIGSTOP)
                self._workers.timeout = 1.0

        self._workers.record_shards(shards, watch)


@pytest.fixture(scope="module")
def lost(spec, tmp_path_factory) -> Lost:
    """The recording of two workers after one was killed and one was stopped. Read-only."""
    folder, log = tmp_path_factory.mktemp("lost"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: log.append(record.getMessage())
    logging.getLogger("flashbulb").addHandler(handler)
    with one_thread(), local_workers(spec, 2, PATIENT) as workers:
        record_set(Accidents(workers), prompts(), folder, MANIFEST, "lost")
    logging.getLogger("flashbulb").removeHandler(handler)
    return Lost(folder, log)


def test_a_recording_that_lost_workers_equals_that_of_one_process_bit_for_bit(alone, lost):
    assert digests(lost.folder) == digests(alone)
    assert len(digests(alone)) == 4 * N_PROMPTS / SHARD_SIZE  # two halves, each with a manifest


def test_the_log_names_the_killed_worker(lost):
    assert sum("was killed by signal 9" in line for line in lost.log) == 1


def test_no_worker_outlives_the_block(lost):
    assert not active_children()


def test_parts_put_together_are_the_whole(spec, alone, tmp_path):
    with one_thread(), flushed_denormals(), spec.opened() as recorder:
        for number in (3, 1, 2):
            record_set(recorder, prompts(), tmp_path, MANIFEST, "part", Part(number, 3))
    assert digests(tmp_path) == digests(alone)


class Stopping:
    """Stops the worker at the first of many prompts of its only shard, and is patient with the next worker."""

    def __init__(self, workers: LocalWorkers) -> None:
        self.plan, self.initial_evaluations, self._workers = workers.plan, workers.initial_evaluations, workers
        self.stopped = list[int]()

    def record_shards(self, shards, advance) -> None:
        def watch(n: int = 1, remark: str = "") -> None:
            if n < 0:
                self._workers.timeout = PATIENT
            elif not self.stopped:
                self.stopped.append(active_children()[0].pid)
                os.kill(self.stopped[0], signal.SIGSTOP)
                self._workers.timeout = 1.0

        self._workers.record_shards(shards, watch)


def test_the_log_names_a_worker_that_stopped_within_its_shard(spec, tmp_path, caplog):
    one = replace(spec, plan=replace(spec.plan, shard_size=N_PROMPTS, batch_size=1))
    with local_workers(one, 1, PATIENT) as workers:
        stopping = Stopping(workers)
        with caplog.at_level(logging.WARNING, "flashbulb"):
            record_set(stopping, prompts(), tmp_path, MANIFEST, "stopped")
        assert stopping.stopped[0] not in {child.pid for child in active_children()}
    assert [line for line in caplog.messages if line.startswith("worker 0 ")] == ["worker 0 has not answered for 1 s"]
    assert any("shard 0 of" in line and "is recorded again" in line for line in caplog.messages)
    assert list(tmp_path.rglob("part-00000.parquet"))


class Murderous:
    """Kills every worker that begins a shard."""

    def __init__(self, workers: LocalWorkers) -> None:
        self.plan, self.initial_evaluations, self._workers = workers.plan, workers.initial_evaluations, workers

    def record_shards(self, shards, advance) -> None:
        def kill(n: int = 1, remark: str = "") -> None:
            if n > 0:
                os.kill(active_children()[0].pid, signal.SIGKILL)

        self._workers.record_shards(shards, kill)


def test_a_shard_that_loses_every_worker_ends_with_one_line(spec, tmp_path):
    one = replace(spec, plan=replace(spec.plan, shard_size=N_PROMPTS))
    with local_workers(one, 1, PATIENT) as workers:
        killing: Executor = Murderous(workers)
        with pytest.raises(WorkersLost, match=rf"shard 0 of .* lost {MAX_LOSSES} workers, .* signal 9; if memory is"):
            record_set(killing, prompts(), tmp_path, MANIFEST, "doomed")
    assert not list(tmp_path.rglob("part-*"))


def test_the_error_of_a_worker_is_that_of_the_recording(spec, tmp_path):
    other = replace(spec, fingerprint="another")
    with local_workers(other, 1, PATIENT) as workers, pytest.raises(ModelError, match="changed while it was recorded"):
        record_set(workers, prompts(), tmp_path, MANIFEST, "other")
