"""Open workers, as an audit's settings say where and how many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from flashbulb.audit.execute.coordinator import Coordinator, Transport
from flashbulb.audit.execute.local import LocalProcesses
from flashbulb.audit.execute.ray_actors import RayActors
from flashbulb.audit.execute.ray_driver import Cluster
from flashbulb.audit.execute.work import ResultT, TaskT, Work


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
