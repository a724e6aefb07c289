"""Record shards in several processes of this machine; a shard whose process is lost is recorded again by another."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

import torch

from flashbulb.audit.execute.messages import Advanced, Done, Failed, Message, Ready, Said
from flashbulb.audit.execute.spec import RecorderSpec
from flashbulb.audit.execute.worker import Place, work
from flashbulb.audit.record.recorder import Plan, Shard
from flashbulb.audit.run.progress import Advance
from flashbulb.reports.tables.files import PART_SUFFIX

logger = logging.getLogger(__name__)

MAX_LOSSES = 3
"""Workers that one shard may lose; each of several may meet an accident, but all of them have a reason."""
_GRACE = 5.0  # seconds for a process that has closed its connection to end
_CONTEXT = get_context("forkserver")  # a fork of this process could use neither CUDA nor the threads of torch


class WorkersLost(RuntimeError):  # noqa: N818
    """A shard lost one worker after the other; the message says how, and what to do."""


class _Worker:
    """A process with its own model, and the shard that it has in hand."""

    def __init__(self, spec: RecorderSpec, number: int, n_threads: int) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.number, self.is_ready, self.heard = number, False, time.monotonic()
        self.shard: Shard | None = None
        self.n_done = 0  # prompts of the shard
        place = Place(Path.cwd(), _umask(), n_threads, number)
        self.process = _CONTEXT.Process(target=work, args=(place, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that the connection ends with the worker
        self.connection.send(spec)

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.shard is None

    def give(self, shard: Shard) -> None:
        self.shard, self.n_done, self.heard = shard, 0, time.monotonic()
        with suppress(OSError):  # it is lost, which the next look at its connection tells
            self.connection.send(shard)

    def messages(self) -> Iterator[Message | None]:
        """Yield what it has sent, and None if it has ended."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
                self.heard = time.monotonic()
        except (EOFError, OSError):
            yield None

    def end(self, grace: float = 0) -> str:
        """End the process, at once or after `grace` seconds, and return how it ended."""
        self.process.join(grace)
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode
        return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"


def _umask() -> int:
    before = os.umask(0o077)
    os.umask(before)
    return before


class LocalWorkers:
    """Processes that record shards, started when there are shards for them.

    Args:
        timeout: seconds after which a worker that says nothing is lost; each batch of prompts is a sign of life.
    """

    def __init__(self, spec: RecorderSpec, n_workers: int, timeout: float) -> None:
        self._spec, self._n_workers, self.timeout = spec, n_workers, timeout
        self._n_threads = max(1, torch.get_num_threads() // n_workers)
        _CONTEXT.set_forkserver_preload(["flashbulb.audit.execute.preloaded"])
        self._workers: list[_Worker] = []
        self._waiting: deque[Shard] = deque()
        self._losses: Counter[int | None] = Counter()  # by shard; None while a worker starts

    @property
    def plan(self) -> Plan:
        """How each of them records."""
        return self._spec.plan

    @property
    def initial_evaluations(self) -> int:
        """UE of the empty prompt, counted once; each worker spends them."""
        return self._spec.initial_evaluations

    def record_shards(self, shards: Iterable[Shard], advance: Advance) -> None:
        """Record all of them, in any order.

        Raises:
            WorkersLost: a shard has lost its worker again and again.
            Exception: what a worker raised, of its kind.
        """
        self._waiting.extend(shards)
        self._losses.clear()
        while self._waiting or any(worker.shard for worker in self._workers):
            self._hand_out()
            wait([worker.connection for worker in self._workers], timeout=1.0)
            for worker in list(self._workers):
                for message in worker.messages():
                    self._take(worker, message, advance)
                if worker in self._workers and not worker.is_idle and self._is_silent(worker):
                    self._lose(worker, f"has not answered for {self.timeout:g} s", advance)

    def end(self) -> None:
        """End every worker at once; a shard that is not written whole is not written at all."""
        while self._workers:
            self._workers.pop().end()

    def _hand_out(self) -> None:
        n_busy = sum(worker.shard is not None for worker in self._workers)
        while len(self._workers) < min(self._n_workers, n_busy + len(self._waiting)):
            free = set(range(self._n_workers)) - {worker.number for worker in self._workers}
            self._workers.append(_Worker(self._spec, min(free), self._n_threads))
        for worker in self._workers:
            if worker.is_idle and self._waiting:
                worker.give(self._waiting.popleft())

    def _take(self, worker: _Worker, message: Message | None, advance: Advance) -> None:
        match message:
            case Ready():
                worker.is_ready = True
                self._losses[None] = 0
            case Advanced(n):
                worker.n_done += n
                advance(n)
            case Done():
                worker.shard = None
            case Said(level, text):
                logger.log(level, "worker %d: %s", worker.number, text)
            case Failed(error):
                raise error
            case None:
                self._lose(worker, None, advance)

    def _is_silent(self, worker: _Worker) -> bool:
        return time.monotonic() - worker.heard > self.timeout

    def _lose(self, worker: _Worker, silence: str | None, advance: Advance) -> None:
        """Let another worker record the shard of this one.

        Raises:
            WorkersLost: too many were lost with it.
        """
        self._workers.remove(worker)
        ending = worker.end(_GRACE if silence is None else 0)
        reason = silence or ending
        shard, index = worker.shard, None if worker.shard is None else worker.shard.index
        self._losses[index] += 1
        if self._losses[index] == MAX_LOSSES:
            what = "starting" if shard is None else f"shard {index} of {shard.folder}"
            raise WorkersLost(
                f"{what} lost {MAX_LOSSES} workers, the last one {reason}; if memory is short, give fewer --workers or "
                "a smaller --batch-size; if the machine is slow, raise --worker-timeout; complete shards are kept"
            )
        logger.warning("worker %d %s", worker.number, reason)
        if shard is not None:
            logger.warning("shard %d of %s is recorded again", shard.index, shard.folder)
            self._waiting.appendleft(shard)
            advance(-worker.n_done)
            for left in shard.folder.glob(f"*/part-{shard.index:05d}.*{PART_SUFFIX}"):
                left.unlink(missing_ok=True)


@contextmanager
def local_workers(spec: RecorderSpec, n_workers: int, timeout: float) -> Iterator[LocalWorkers]:
    """Yield workers, which end with the block."""
    workers = LocalWorkers(spec, n_workers, timeout)
    try:
        yield workers
    finally:
        workers.end()
