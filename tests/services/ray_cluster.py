"""A Ray cluster of one machine, in processes of its own, and the processes of its actors."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

_HEAD = """
import sys
import ray
ray.init(
    "local",
    include_dashboard=False,
    object_store_memory=100 * 2**20,
    num_cpus=4,
    num_gpus=int(sys.argv[1]),
    logging_level="ERROR",
)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
_AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 32 * "5e"}
"""Variables of all who speak with the cluster, and of the cluster itself."""
_PLAIN = {"RAY_worker_niceness": "0"}  # a machine that others use as well leaves nothing to nice processes
_ACTOR = "ray::RayWorker"  # begins the title of an actor's process


class RayCluster:
    """A cluster at an address, which ends with this process.

    Args:
        n_gpus: that it believes to have.
    """

    def __init__(self, n_gpus: int = 0) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._head = subprocess.Popen(
            [sys.executable, "-c", _HEAD, str(n_gpus)],
            text=True,
            env={**os.environ, **_PLAIN},
            **pipes,
        )
        assert self._head.stdout is not None
        self.address = self._head.stdout.readline().strip()

    def actors(self) -> list[psutil.Process]:
        """Return the processes of actors, the first ones first."""
        return actors_under(psutil.Process(self._head.pid))

    def end(self) -> None:
        """Kill every process of the cluster, if it has not ended."""
        if self._head.returncode is not None:
            return
        processes = [*psutil.Process(self._head.pid).children(recursive=True), psutil.Process(self._head.pid)]
        for process in processes:
            process.kill()
        self._head.communicate()


def actors_under(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes of actors below one that started a cluster, the first ones first."""
    children = sorted(process.children(recursive=True), key=lambda child: child.create_time())
    return [child for child in children if _title(child).startswith(_ACTOR)]


@contextmanager
def ray_cluster(n_gpus: int = 0) -> Iterator[RayCluster]:
    """Start a cluster, with which this process and its children may speak, and end it with the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _AUTHENTICATION.items():
            patch.setenv(name, value)
        cluster = RayCluster(n_gpus)
        try:
            yield cluster
        finally:
            cluster.end()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
