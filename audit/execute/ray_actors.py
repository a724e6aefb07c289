"""Workers that are actors of a Ray cluster, behind a process that is its driver."""

from __future__ import annotations

import logging
import pickle
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from flashbulb.audit.execute.coordinator import WorkersLost
from flashbulb.audit.execute.messages import Ended, Message
from flashbulb.audit.execute.ray_driver import Cluster, Give, Refused, Start, Stop, drive
from flashbulb.audit.execute.serve import Place

logger = logging.getLogger(__name__)

_GRACE = 15.0  # seconds for the driver to end its actors, and a cluster of its own
_CONTEXT = get_context("spawn")


class RayError(ValueError):
    """There is no Ray cluster to use; the message says why, and what to do."""


class RayActors:
    """Starts actors, which end with this process, however that ends.

    Args:
        work: what each of them opens.
        n_threads: threads of the CPU that each uses.
    """

    def __init__(self, work: Any, n_threads: int, cluster: Cluster) -> None:
        self._work, self._n_threads, self._cluster = pickle.dumps(work), n_threads, cluster
        self._process: Any = None  # a class of the context
        self._connection: Connection | None = None
        self._keys: dict[int, int] = {}  # by the number of the worker
        self._n_started = 0

    def start(self, number: int) -> None:
        """Ask for an actor, and for the cluster if this is the first."""
        self._keys[number], self._n_started = self._n_started, self._n_started + 1
        place = Place.of_this_process(self._n_threads, number)
        self._send(Start(self._keys[number], place, self._work))

    def give(self, number: int, task: Any) -> None:
        """Send a task; if the worker is lost, a message tells."""
        self._send(Give(self._keys[number], pickle.dumps(task)))

    def received(self, seconds: float) -> list[tuple[int, Message]]:
        """Return what the workers have sent, after waiting for it at most so long.

        Raises:
            WorkersLost: the cluster is gone.
            RayError: there is none.
        """
        messages: list[tuple[int, Message]] = []
        connection = self._open()
        try:
            while connection.poll(0 if messages else seconds):
                match connection.recv():
                    case Refused(reason):
                        raise RayError(_refusal(self._cluster.address, reason))
                    case None, text:
                        said = pickle.loads(text)
                        logger.log(said.level, said.text)
                    case key, text if (number := self._number_of(key)) is not None:
                        message = pickle.loads(text)
                        messages.append((number, message))
                        if isinstance(message, Ended):  # its actor may live on, and keep its place in the cluster
                            self.end(number)
        except (EOFError, OSError):
            raise WorkersLost(
                "the Ray cluster is gone; what is complete is kept: start the cluster again, then the same command"
            ) from None
        return messages

    def end(self, number: int) -> None:
        """Kill an actor; its number can be used at once."""
        self._send(Stop(self._keys.pop(number)))

    def close(self) -> None:
        """Kill every actor, and end a cluster that was started for them."""
        if self._connection is not None:
            self._connection.close()
            self._process.join(_GRACE)
            self._process.kill()
            self._process.join()

    def _number_of(self, key: int) -> int | None:
        return next((number for number, other in self._keys.items() if other == key), None)

    def _send(self, command: Start | Give | Stop) -> None:
        with suppress(OSError):  # the driver is gone, which `received` tells
            self._open().send(command)

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection, theirs = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=drive, args=(self._cluster, theirs), daemon=True)
            self._process.start()
            theirs.close()
        return self._connection


def _refusal(address: str | None, reason: str) -> str:
    where = "a cluster on this machine" if address is None else f"the cluster at {address}"
    return f"Ray does not reach {where}: {reason}; see --ray-address"
