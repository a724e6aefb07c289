"""Workers that are processes of this machine, each at the other end of a pipe."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any

from flashbulb.audit.execute.messages import Ended, Message
from flashbulb.audit.execute.parent import follow_parent
from flashbulb.audit.execute.serve import Place, serve

_GRACE = 5.0  # seconds for a process that has closed its connection to end
_CONTEXT = get_context("forkserver")  # a fork of this process could use neither CUDA nor the threads of torch


@dataclass(slots=True)
class _Process:
    process: Any  # a class of the context
    connection: Connection
    sending: Thread | None = None

    def send(self, task: Any) -> None:
        """Send a task from a thread: a process that has stopped reads nothing, and a large task waits for it."""
        self._finish_sending()
        self.sending = Thread(target=self._send, args=(ForkingPickler.dumps(task),), daemon=True)
        self.sending.start()

    def end(self, grace: float = 0) -> str:
        """End it, at once or after `grace` seconds, and return how it ended."""
        self.process.join(grace)
        self.process.kill()
        self.process.join()
        self._finish_sending()
        self.connection.close()
        code = self.process.exitcode
        return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"

    def _send(self, task: memoryview) -> None:
        with suppress(OSError):  # if the process is lost, the next look at its connection tells
            self.connection.send_bytes(task)

    def _finish_sending(self) -> None:
        """Wait for the last task, which an idle worker has read, and of which one that ended reads no more."""
        if self.sending is not None:
            self.sending.join()


class LocalProcesses:
    """Starts processes of this machine, which end with this one, however that ends.

    Args:
        work: what each of them opens.
        n_threads: threads of the CPU that each uses.
    """

    def __init__(self, work: Any, n_threads: int) -> None:
        self._work, self._n_threads = work, n_threads
        self._processes: dict[int, _Process] = {}
        self._not_started: list[int] = []
        _CONTEXT.set_forkserver_preload(["flashbulb.audit.execute.preloaded"])

    def start(self, number: int) -> None:
        """Start a worker and give it the work."""
        ours, theirs = _CONTEXT.Pipe()
        place = Place.of_this_process(self._n_threads, number)
        process = _CONTEXT.Process(target=_run, args=(place, theirs), daemon=True)
        try:
            process.start()
        except (EOFError, ConnectionError):  # what forks workers has ended, as it does if it cannot; another one begins
            self._not_started.append(number)
            return
        theirs.close()  # so that the connection ends with the worker
        self._processes[number] = _Process(process, ours)
        self.give(number, self._work)

    def give(self, number: int, task: Any) -> None:
        """Send a task."""
        self._processes[number].send(task)

    def received(self, seconds: float) -> list[tuple[int, Message]]:
        """Return what the workers have sent, after waiting for it at most so long."""
        messages: list[tuple[int, Message]] = [(n, Ended("could not be started")) for n in self._not_started]
        self._not_started.clear()
        wait([process.connection for process in self._processes.values()], timeout=seconds)
        for number, process in list(self._processes.items()):
            try:
                while process.connection.poll():
                    messages.append((number, process.connection.recv()))
            except (EOFError, OSError):
                messages.append((number, Ended(self._processes.pop(number).end(_GRACE))))
        return messages

    def end(self, number: int) -> None:
        """End a worker at once."""
        self._processes.pop(number).end()

    def close(self) -> None:
        """End every worker at once."""
        while self._processes:
            self._processes.popitem()[1].end()


def _run(place: Place, connection: Connection) -> None:
    """Be a worker until the connection closes or the process that started this one ends."""
    follow_parent()
    with suppress(EOFError, BrokenPipeError):  # nobody listens any longer
        serve(place, connection.recv, connection.send)
