"""Actors of Ray perform the same tasks with the same results, whichever of them are killed or stop."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

import psutil
import pytest
import torch

from flashbulb.audit.execute.coordinator import WorkersLost
from flashbulb.audit.execute.ray_actors import RayError
from flashbulb.audit.execute.recording import RecordingWorkers
from flashbulb.audit.execute.workers import Workers, open_workers
from flashbulb.audit.record.sets import record_set
from flashbulb.audit.run.progress import Advance
from tests.audit.commands import digests
from tests.audit.execute.squares import Count, Square, Squares
from tests.audit.recordings import MANIFEST, Watched, logged, one_thread, prompts
from tests.services.ray_cluster import RayCluster, actors_under, ray_cluster

PATIENT = 300.0
VERSIONS = {"numpy": version("numpy")}


def ray_workers(n: int, address: str | None = None, versions: dict[str, str] = VERSIONS) -> Workers:
    return Workers("ray", n, PATIENT, address, versions)


def wait_until(is_so: Callable[[], object]) -> None:
    while not is_so():
        pass


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as cluster:
        yield cluster


@pytest.mark.slow  # tests of the coordinator kill other workers
def test_a_killed_actor_is_replaced_and_every_result_returned_once(tmp_path):
    """The cluster is one that the workers start and end."""
    tasks, count, results = [Square(n) for n in range(5)], Count(), []
    (tmp_path / "3").touch()
    with logged() as log, open_workers(Squares(tmp_path, stuck=(3,)), ray_workers(1)) as coordinator:
        for task, result in coordinator.perform(tasks, count):
            results.append((task.n, result))
            if task.n == 2:  # the next one is stuck
                (victim,) = actors_under(psutil.Process())
                victim.kill()
                (tmp_path / "3").unlink()
    assert sorted(results) == [(n, n * n) for n in range(5)]
    assert count.n == len(tasks)
    assert [line for line in log if line.startswith("worker 0 is lost")]
    assert "square 3 is begun again" in log
    assert not actors_under(psutil.Process())


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    absent = "127.0.0.1:9"
    line = f"the cluster at {absent}: .*refused; see --ray-address"
    with open_workers(Squares(tmp_path), ray_workers(1, absent)) as coordinator, pytest.raises(RayError, match=line):
        list(coordinator.perform([Square(1)], Count()))


@dataclass(frozen=True)
class Accelerators:
    """Tells which GPUs Ray gave to a worker; for the process that hands out the tasks, and no other, it runs on one."""

    asks_for_gpu: bool
    asker: int = field(default_factory=os.getpid)

    @property
    def device(self) -> str:
        return "cuda" if self.asks_for_gpu and os.getpid() == self.asker else "cpu"

    @contextmanager
    def opened(self) -> Iterator[Callable[[Square, Advance], tuple[list[str], str | None]]]:
        import ray

        given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        yield lambda task, advance: (given, os.environ.get("CUDA_VISIBLE_DEVICES"))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the cluster believes in GPUs that are not there")
def test_workers_take_a_gpu_each_where_the_command_runs_on_one_and_none_elsewhere(tmp_path):
    """The cluster believes in two GPUs; each has one worker, however many are asked for."""
    with ray_cluster(n_gpus=2) as cluster, logged() as log:
        with open_workers(Accelerators(asks_for_gpu=True), ray_workers(3, cluster.address)) as coordinator:
            given = [result for _, result in coordinator.perform([Square(n) for n in range(6)], Count())]
        with open_workers(Accelerators(asks_for_gpu=False), ray_workers(1, cluster.address)) as coordinator:
            ((_, without),) = coordinator.perform([Square(1)], Count())
        with (
            open_workers(Squares(tmp_path, device="cuda"), ray_workers(1, cluster.address)) as coordinator,
            pytest.raises(WorkersLost, match=r"failed: .* no GPU that PyTorch can use"),
        ):
            list(coordinator.perform([Square(1)], Count()))
    assert {ids[0] for ids, _ in given} <= {"0", "1"}
    assert all(ids == [visible] for ids, visible in given)
    assert without[0] == []
    assert "the Ray cluster has 2 GPU, 3 workers need 1 each; some wait" in log


@pytest.mark.slow
def test_the_error_of_an_actor_is_raised(cluster, tmp_path):
    workers, line = ray_workers(1, cluster.address), "-1 is negative"
    with open_workers(Squares(tmp_path), workers) as coordinator, pytest.raises(ValueError, match=line):
        list(coordinator.perform([Square(-1)], Count()))


@pytest.mark.slow
def test_an_actor_with_other_versions_does_no_work(cluster, tmp_path):
    workers = ray_workers(1, cluster.address, {"numpy": "0.1"})
    line = r"starting lost 3 workers, .* has numpy .*, and 0\.1 is needed"
    with open_workers(Squares(tmp_path), workers) as coordinator, pytest.raises(WorkersLost, match=line):
        list(coordinator.perform([Square(1)], Count()))


@pytest.mark.slow
def test_workers_for_whom_the_cluster_has_no_place_are_named_and_hold_nobody_up(cluster, tmp_path):
    with logged() as log, open_workers(Squares(tmp_path), ray_workers(9, cluster.address)) as coordinator:
        assert len(list(coordinator.perform([Square(n) for n in range(12)], Count()))) == 12
    assert [line for line in log if "9 workers need 1 each; some wait" in line]


@pytest.mark.slow
def test_a_recording_that_lost_actors_equals_that_of_one_process_bit_for_bit(cluster, spec, alone, tmp_path):
    n_prompts = 0

    def accidents(n: int) -> None:
        """Kill one actor and stop another in the middle of their shards."""
        nonlocal n_prompts
        before, n_prompts = n_prompts, n_prompts + max(n, 0)
        if n <= 0:  # a shard was taken back
            coordinator.timeout = PATIENT
        elif before <= 3 < n_prompts:
            cluster.actors()[0].kill()
        elif before <= 11 < n_prompts:
            cluster.actors()[0].send_signal(signal.SIGSTOP)
            coordinator.timeout = 1.0

    with logged() as log, one_thread(), open_workers(spec, ray_workers(2, cluster.address)) as coordinator:
        recording = Watched(RecordingWorkers(spec, coordinator), accidents)
        record_set(recording, prompts(), tmp_path, MANIFEST, "lost")
    assert digests(tmp_path) == digests(alone)
    assert sum("is lost" in line for line in log) == 1


@pytest.mark.slow
def test_a_shard_that_one_disk_does_not_take_is_recorded_by_another_worker(cluster, spec, alone, tmp_path):
    limited: list[psutil.Process] = []

    def limit(n: int) -> None:
        """Let the first worker write no more files, as where its disk is full."""
        if not limited:
            limited.extend(cluster.actors())
            limited[0].rlimit(psutil.RLIMIT_FSIZE, (500, 500))

    with logged() as log, one_thread(), open_workers(spec, ray_workers(1, cluster.address)) as coordinator:
        record_set(Watched(RecordingWorkers(spec, coordinator), limit), prompts(), tmp_path, MANIFEST, "limited")
    assert digests(tmp_path) == digests(alone)
    assert sum("failed: [Errno 27] File too large" in line for line in log) == 1


@pytest.mark.slow
def test_actors_end_with_the_process_that_started_them(cluster, tmp_path):
    (tmp_path / "1").touch()
    child = os.fork()
    if child == 0:
        with open_workers(Squares(tmp_path, stuck=(1,)), ray_workers(1, cluster.address)) as coordinator:
            list(coordinator.perform([Square(1)], Count()))
        os._exit(0)
    wait_until(cluster.actors)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: not cluster.actors())


@pytest.mark.slow
def test_a_cluster_that_goes_away_ends_the_work_with_one_line(tmp_path):
    (tmp_path / "1").touch()
    with ray_cluster() as cluster, open_workers(Squares(tmp_path, stuck=(1,)), ray_workers(1, cluster.address)) as c:

        def end(n: int = 1, remark: str = "") -> None:
            cluster.end()

        with pytest.raises(WorkersLost, match=r"^the Ray cluster is gone; what is complete is kept"):
            list(c.perform([Square(1)], end))
