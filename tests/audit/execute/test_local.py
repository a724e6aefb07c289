"""Shards recorded by several processes, of which some are killed or stop, equal those of one process bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import NamedTuple

import pytest

from flashbulb.audit.execute import local
from flashbulb.audit.execute.coordinator import MAX_LOSSES, Coordinator, WorkersLost
from flashbulb.audit.execute.local import LocalProcesses
from flashbulb.audit.execute.recording import RecorderSpec, RecordingWorkers
from flashbulb.audit.execute.workers import Workers, open_workers
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.record.sets import Part, record_set
from flashbulb.audit.run.progress import Advance
from tests.audit.commands import digests
from tests.audit.recordings import (
    MANIFEST,
    N_PROMPTS,
    SHARD_SIZE,
    Watched,
    logged,
    one_process,
    one_thread,
    prompts,
)

PATIENT = 300.0


class Lost(NamedTuple):
    """A recording that lost workers: its folder and what was logged."""

    folder: Path
    log: list[str]


@contextmanager
def recording_workers(spec: RecorderSpec, n: int) -> Iterator[RecordingWorkers]:
    with open_workers(spec, Workers("local", n, PATIENT, None, {})) as coordinator:
        yield RecordingWorkers(spec, coordinator)


class Accidents:
    """Kills one worker and stops another in the middle of their shards."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator, self._n_prompts = coordinator, 0

    def __call__(self, n: int) -> None:
        before, self._n_prompts = self._n_prompts, self._n_prompts + max(n, 0)
        if n <= 0:  # a shard was taken back
            self._coordinator.timeout = PATIENT
        elif before <= 3 < self._n_prompts:
            os.kill(active_children()[0].pid, signal.SIGKILL)
        elif before <= 11 < self._n_prompts:
            os.kill(active_children()[0].pid, signal.SIGSTOP)
            self._coordinator.timeout = 1.0


@pytest.fixture(scope="module")
def lost(spec, tmp_path_factory) -> Lost:
    """The recording of two workers after one was killed and one was stopped. Read-only."""
    folder = tmp_path_factory.mktemp("lost")
    with logged() as log, one_thread(), recording_workers(spec, 2) as workers:
        record_set(Watched(workers, Accidents(workers.coordinator)), prompts(), folder, MANIFEST, "lost")
    return Lost(folder, log)


def test_a_recording_that_lost_workers_equals_that_of_one_process_bit_for_bit(alone, lost):
    assert digests(lost.folder) == digests(alone)
    assert len(digests(alone)) == 4 * N_PROMPTS / SHARD_SIZE  # two halves, each with a manifest


def test_the_log_names_the_killed_worker(lost):
    assert sum("was killed by signal 9" in line for line in lost.log) == 1


def test_no_worker_outlives_the_block(lost):
    assert not active_children()


def test_parts_put_together_are_the_whole(spec, alone, tmp_path):
    with one_process(spec) as recorder:
        for number in (3, 1, 2):
            record_set(recorder, prompts(), tmp_path, MANIFEST, "part", Part(number, 3))
    assert digests(tmp_path) == digests(alone)


class Stop:
    """Stops the worker at the first of many prompts of its only shard, and is patient with the next worker."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self.stopped = list[int]()

    def __call__(self, n: int) -> None:
        if n < 0:
            self._coordinator.timeout = PATIENT
        elif not self.stopped:
            self.stopped.append(active_children()[0].pid)
            os.kill(self.stopped[0], signal.SIGSTOP)
            self._coordinator.timeout = 1.0


def test_the_log_names_a_worker_that_stopped_within_its_shard(spec, tmp_path):
    one_shard = replace(spec, plan=replace(spec.plan, shard_size=N_PROMPTS, batch_size=1))
    with logged() as log, recording_workers(one_shard, 1) as workers:
        stop = Stop(workers.coordinator)
        record_set(Watched(workers, stop), prompts(), tmp_path, MANIFEST, "stopped")
        assert stop.stopped[0] not in {child.pid for child in active_children()}
    assert [line for line in log if line.startswith("worker 0 ")] == ["worker 0 has not answered for 1 s"]
    assert any("shard 0 of" in line and "is begun again" in line for line in log)
    assert list(tmp_path.rglob("part-00000.parquet"))


class Large:
    """Work that no pipe holds until it is read, and that repeats tasks."""

    device = "cpu"

    def __init__(self) -> None:
        self.content = bytes(2**22)

    @contextmanager
    def opened(self) -> Iterator[Callable[[Large, Advance], int]]:
        yield lambda task, advance: len(task.content)

    def discard(self) -> None:
        pass


class Stopping(LocalProcesses):
    """Stops the first worker before it is given its work, and is patient with the next one."""

    coordinator: Coordinator[Large, int]
    n_started = 0

    def start(self, number: int) -> None:
        self.n_started += 1
        self.coordinator.timeout = 1.0 if self.n_started == 1 else PATIENT
        super().start(number)

    def give(self, number: int, task: object) -> None:
        if self.n_started == 1:
            os.kill(active_children()[0].pid, signal.SIGSTOP)
        super().give(number, task)


def test_a_worker_that_stops_before_it_has_read_its_work_is_replaced():
    processes = Stopping(Large(), 1)
    processes.coordinator = Coordinator(processes, 1, PATIENT)
    with logged() as log:
        done = [n for _, n in processes.coordinator.perform([Large()], lambda n=1, remark="": None)]
        processes.coordinator.end()
    assert done == [2**22]
    assert log == ["worker 0 has not answered for 1 s"]


@pytest.mark.parametrize(
    ("n_refused", "error"), [(MAX_LOSSES - 1, EOFError("unexpected EOF")), (MAX_LOSSES, ConnectionRefusedError())]
)
def test_a_worker_that_the_system_does_not_fork_is_lost_as_one_that_dies(monkeypatch, n_refused, error):
    """Where the number of processes is limited, what forks them dies of it."""
    start, refused = local._CONTEXT.Process.start, list[object]()

    def refuse_first(process) -> None:
        if len(refused) < n_refused:
            refused.append(process)
            raise error
        start(process)

    monkeypatch.setattr(local._CONTEXT.Process, "start", refuse_first)
    lost = pytest.raises(WorkersLost, match="starting lost 3 workers, the last one could not be started; if memory is")
    with lost if n_refused == MAX_LOSSES else nullcontext(), logged() as log:
        with open_workers(Large(), Workers("local", 1, PATIENT, None, {})) as coordinator:
            done = [n for _, n in coordinator.perform([Large()], lambda n=1, remark="": None)]
        assert done == [2**22]
        assert log == ["worker 0 could not be started"] * n_refused


def murder(n: int) -> None:
    """Kill every worker that begins a shard."""
    if n > 0:
        os.kill(active_children()[0].pid, signal.SIGKILL)


def test_a_shard_that_loses_every_worker_ends_with_one_line(spec, tmp_path):
    large = replace(spec, plan=replace(spec.plan, shard_size=N_PROMPTS))
    lost_again = rf"shard 0 of .* lost {MAX_LOSSES} workers, .* signal 9; if memory is"
    with recording_workers(large, 1) as workers, pytest.raises(WorkersLost, match=lost_again):
        record_set(Watched(workers, murder), prompts(), tmp_path, MANIFEST, "doomed")
    assert not list(tmp_path.rglob("part-*"))


def test_the_error_of_a_worker_is_that_of_the_recording(spec, tmp_path):
    other = replace(spec, model=replace(spec.model, fingerprint="another"))
    with recording_workers(other, 1) as workers, pytest.raises(ModelError, match="changed while it was recorded"):
        record_set(workers, prompts(), tmp_path, MANIFEST, "other")
