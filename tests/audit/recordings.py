"""A small recording that processes share, and an executor that does it in this process."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from flashbulb.audit.execute.recording import RecorderSpec
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.recorder import Plan, Shard
from flashbulb.audit.record.sets import Executor
from flashbulb.audit.run.progress import Advance
from flashbulb.audit.run.torch_state import computing

MANIFEST = {"fingerprint": "abc"}
N_PROMPTS, SHARD_SIZE = 22, 2


def prompts() -> list[Prompt]:
    return [Prompt(f"id-{i:02d}", f"a star over the sea, number {i}", "prompts.txt", i, 1) for i in range(N_PROMPTS)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let this process round like a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class InThisProcess:
    """Records shards with what a spec opens."""

    plan: Plan
    initial_evaluations: int
    record: Callable[[Shard, Advance], None]

    def record_shards(self, shards: Iterable[Shard], advance: Advance) -> None:
        for shard in shards:
            self.record(shard, advance)


@contextmanager
def one_process(spec: RecorderSpec) -> Iterator[Executor]:
    """Record in this process, rounding like a worker."""
    with one_thread(), computing(), spec.opened() as record:
        yield InThisProcess(spec.plan, spec.initial_evaluations, record)


@dataclass(frozen=True)
class Watched:
    """An executor that calls `watch` whenever prompts are done or taken back."""

    executor: Executor
    watch: Callable[[int], None]

    @property
    def plan(self) -> Plan:
        return self.executor.plan

    @property
    def initial_evaluations(self) -> int:
        return self.executor.initial_evaluations

    def record_shards(self, shards: Iterable[Shard], advance: Advance) -> None:
        def watched(n: int = 1, remark: str = "") -> None:
            advance(n)
            self.watch(n)

        self.executor.record_shards(shards, watched)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the lines of the product's log."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("flashbulb").addHandler(handler)
    yield lines
    logging.getLogger("flashbulb").removeHandler(handler)
