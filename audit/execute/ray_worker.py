"""A worker in an actor of Ray: tasks are put into it, and its messages are fetched, both as bytes."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from flashbulb.audit.execute.messages import Ended, Failed, Message
from flashbulb.audit.execute.serve import Place, serve

_SECONDS_PER_POLL = 10.0


class RayWorker:
    """Performs tasks in a thread of its own, so that two calls of Ray can give and fetch at the same time.

    Args:
        versions: of the libraries that affect results, as the process that hands out the tasks has them.
    """

    def __init__(self, place: Place, versions: Mapping[str, str], work: bytes) -> None:
        self._inbox, self._outbox = SimpleQueue[bytes](), SimpleQueue[bytes]()
        self.give(work)
        Thread(target=self._run, args=(place, versions), daemon=True).start()

    def give(self, task: bytes) -> None:
        """Take one more task."""
        self._inbox.put(task)

    def poll(self) -> list[bytes]:
        """Return messages as soon as there are any, none after a while."""
        messages = []
        try:
            messages.append(self._outbox.get(timeout=_SECONDS_PER_POLL))
            while True:
                messages.append(self._outbox.get_nowait())
        except Empty:
            return messages

    def _run(self, place: Place, versions: Mapping[str, str]) -> None:
        for name, expected in versions.items():
            if (found := _version(name)) != expected:
                self._send(Ended(f"on {socket.gethostname()} has {name} {found}, and {expected} is needed"))
                return
        serve(place, self._receive, self._send)

    def _receive(self) -> Any:
        return pickle.loads(self._inbox.get())  # from the process that started the actor

    def _send(self, message: Message) -> None:
        if isinstance(message, Failed) and isinstance(message.error, OSError):  # another machine may do better
            message = Ended(f"on {socket.gethostname()} failed: {message.error}")
        self._outbox.put(pickle.dumps(message))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
