"""Hand out tasks to workers; a task whose worker is lost is given to another."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from flashbulb.audit.execute.messages import Advanced, Done, Ended, Failed, Message, Placed, Ready, Said
from flashbulb.audit.execute.work import ResultT, TaskT
from flashbulb.audit.run.progress import Advance

logger = logging.getLogger(__name__)

MAX_LOSSES = 3
"""Workers that one task may lose; each of several may meet an accident, but all of them have a reason."""
_SECONDS_BETWEEN_LOOKS, _LONGEST_LOOK = 1.0, 2.0


class WorkersLost(RuntimeError):  # noqa: N818
    """A task lost one worker after the other, or all were lost; the message says how, and what to do."""


class Transport(Protocol):
    """Starts workers somewhere, and carries tasks to them and messages back. A worker has a number from 0.

    A worker that has ended is gone once its `Ended` is received; its number can then be used again.
    """

    def start(self, number: int) -> None: ...
    def give(self, number: int, task: Any) -> None: ...
    def received(self, seconds: float) -> list[tuple[int, Message]]: ...
    def end(self, number: int) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _Turn(Generic[TaskT]):
    """A task, how much of it its worker has done, and how many workers it has lost."""

    task: TaskT
    n_done: int = 0
    n_losses: int = 0


@dataclass(slots=True)
class _Worker(Generic[TaskT]):
    """What is known of a worker."""

    heard: float
    is_placed: bool = False
    is_ready: bool = False
    turn: _Turn[TaskT] | None = None

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.turn is None


class Coordinator(Generic[TaskT, ResultT]):
    """Keeps workers, which start when there are tasks for them and stay until `end`.

    Args:
        timeout: seconds after which a worker that says nothing is lost; each call of `advance` is a sign of life. Time
            counts only while this process listens.
    """

    def __init__(self, transport: Transport, n_workers: int, timeout: float) -> None:
        self._transport, self._n_workers, self.timeout = transport, n_workers, timeout
        self._workers: dict[int, _Worker[TaskT]] = {}
        self._waiting: deque[_Turn[TaskT]] = deque()
        self._n_lost_starts = 0
        self._waited, self._looked = 0.0, time.monotonic()

    def perform(self, tasks: Iterable[TaskT], advance: Advance) -> Iterator[tuple[TaskT, ResultT]]:
        """Perform all tasks, and yield each with its result when it is done, in any order.

        Raises:
            WorkersLost: a task has lost its worker again and again.
            Exception: what a worker raised, of its kind.
        """
        self._waiting.extend(_Turn(task) for task in tasks)
        while self._waiting or any(worker.turn for worker in self._workers.values()):
            self._hand_out()
            for number, message in self._transport.received(_SECONDS_BETWEEN_LOOKS):
                yield from self._take(number, message, advance)
            self._count_wait()
            for number in [number for number in self._workers if self._is_silent(number)]:
                self._transport.end(number)
                self._lose(number, f"has not answered for {self.timeout:g} s", advance)

    def end(self) -> None:
        """End every worker at once; what is not written whole is not written at all."""
        self._transport.close()

    def _hand_out(self) -> None:
        n_busy = sum(worker.turn is not None for worker in self._workers.values())
        while len(self._workers) < min(self._n_workers, n_busy + len(self._waiting)):
            number = min(set(range(self._n_workers)) - self._workers.keys())
            self._workers[number] = _Worker(self._waited)
            self._transport.start(number)
        for number, worker in self._workers.items():
            if worker.is_idle and self._waiting:
                worker.turn, worker.heard = self._waiting.popleft(), self._waited
                self._transport.give(number, worker.turn.task)

    def _take(self, number: int, message: Message, advance: Advance) -> Iterator[tuple[TaskT, ResultT]]:
        worker = self._workers[number]
        worker.heard = self._waited
        match message:
            case Placed():
                worker.is_placed = True
            case Ready():
                worker.is_ready, self._n_lost_starts = True, 0
            case Advanced(n, remark):
                assert worker.turn is not None, "only a task advances"
                worker.turn.n_done += n
                advance(n, remark)
            case Done(result):
                assert worker.turn is not None, "only a task can be done"
                task, worker.turn = worker.turn.task, None
                yield task, result
            case Said(level, text):
                logger.log(level, "worker %d: %s", number, text)
            case Failed(error):
                raise error
            case Ended(reason):
                self._lose(number, reason, advance)

    def _count_wait(self) -> None:
        """Count the time since the last look: no more than a look takes, as more went by while nobody listened.

        A scheduler may suspend all processes for hours, and results may take long to be worked on.
        """
        now = time.monotonic()
        self._waited, self._looked = self._waited + min(now - self._looked, _LONGEST_LOOK), now

    def _is_silent(self, number: int) -> bool:
        """Whether a worker should have been heard; one that waits for a place is silent while the others are."""
        worker = self._workers[number]
        heard = worker.heard if worker.is_placed else max(other.heard for other in self._workers.values())
        return not worker.is_idle and self._waited - heard > self.timeout

    def _lose(self, number: int, reason: str, advance: Advance) -> None:
        """Put the task of a lost worker back.

        Raises:
            WorkersLost: too many were lost with it.
        """
        turn = self._workers.pop(number).turn
        if turn is None:
            self._n_lost_starts += 1
        else:
            turn.n_losses += 1
        n_losses = self._n_lost_starts if turn is None else turn.n_losses
        if n_losses == MAX_LOSSES:
            raise WorkersLost(
                f"{'starting' if turn is None else turn.task} lost {MAX_LOSSES} workers, the last one {reason}; if "
                "memory is short, give fewer --workers or a smaller --batch-size; if the machine is slow, raise "
                "--worker-timeout; what is complete is kept"
            )
        logger.warning("worker %d %s", number, reason)
        if turn is not None:
            logger.warning("%s is begun again", turn.task)
            advance(-turn.n_done)
            turn.n_done = 0
            turn.task.discard()
            self._waiting.appendleft(turn)
