"""Open workers, as an audit's settings say where and how many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from flashbulb.audit.execute.coordinator import Coordinator
from flashbulb.audit.execute.local import LocalProcesses
from flashbulb.audit.execute.work import ResultT, TaskT, Work


@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers, and how patient to be with them.

    Args:
        timeout: seconds after which a worker that says nothing is lost.
    """

    n: int
    timeout: float

    @property
    def n_threads(self) -> int:
        """Threads of the CPU of each worker: together they use those of this process."""
        return max(1, torch.get_num_threads() // self.n)


@contextmanager
def open_workers(work: Work[TaskT, ResultT], workers: Workers) -> Iterator[Coordinator[TaskT, ResultT]]:
    """Yield what hands out tasks to workers that open `work`; they end with the block."""
    coordinator = Coordinator[TaskT, ResultT](LocalProcesses(work, workers.n_threads), workers.n, workers.timeout)
    try:
        yield coordinator
    finally:
        coordinator.end()
