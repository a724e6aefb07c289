"""Open workers, as an audit's settings say where and how many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import torch

from flashbulb.audit.execute.coordinator import Coordinator, Transport
from flashbulb.audit.execute.local import LocalProcesses
from flashbulb.audit.execute.ray_actors import RayActors
from flashbulb.audit.execute.ray_driver import Cluster
from flashbulb.audit.execute.work import ResultT, TaskT, Work

_MOST_ON_A_CPU = 8
_COPIES, _LIBRARIES = 3, 2**30
"""Memory of a worker on a CPU: so many times the bytes of the weights, as it computes with them, and the libraries."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Where the workers are, how many, and how patient to be with them.

    Args:
        timeout: seconds after which a worker that says nothing is lost.
        ray_address: of a Ray cluster; None asks RAY_ADDRESS, else one starts on this machine.
        versions: of the libraries that affect results, which workers on other machines must have.
    """

    executor: Literal["local", "ray"]
    n: int
    timeout: float
    ray_address: str | None
    versions: Mapping[str, str]

    @property
    def n_threads(self) -> int:
        """Threads of the CPU of each worker: together they use those of this process."""
        return max(1, torch.get_num_threads() // self.n)


def fitting_workers(device: str, weight_bytes: int) -> int:
    """Return how many workers use this machine to the full.

    On a CPU that is one a thread, as far as half of the memory that is free holds them, and at most 8; each then has
    its share of the threads, and small models gain more by workers than by threads. `cuda` has one worker a GPU. Any
    other device, or a GPU by its number, has one.

    Args:
        weight_bytes: of the model.
    """
    if device == "cuda":
        return torch.cuda.device_count()
    if device != "cpu":
        return 1
    room = psutil.virtual_memory().available // 2
    fitting = int(room // (_COPIES * weight_bytes + _LIBRARIES))
    return max(1, min(torch.get_num_threads(), fitting, _MOST_ON_A_CPU))


@contextmanager
def open_workers(work: Work[TaskT, ResultT], workers: Workers) -> Iterator[Coordinator[TaskT, ResultT]]:
    """Yield what hands out tasks to workers that open `work`; they end with the block."""
    coordinator = Coordinator[TaskT, ResultT](_transport(work, workers), workers.n, workers.timeout)
    try:
        yield coordinator
    finally:
        coordinator.end()


def _transport(work: Work[Any, Any], workers: Workers) -> Transport:
    if workers.executor == "local":
        return LocalProcesses(work, workers.n_threads)
    needs = {"CPU": 1.0, "GPU": 1.0} if work.device == "cuda" else {"CPU": float(workers.n_threads)}
    cluster = Cluster(workers.ray_address or os.environ.get("RAY_ADDRESS"), workers.n, needs, workers.versions)
    return RayActors(work, workers.n_threads, cluster)
