"""Perform tasks in the process of a worker, whichever way messages come and go.

It imports torch and its kin only when its log is set up.
"""

from __future__ import annotations

import errno
import logging
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from flashbulb.audit.execute.messages import Advanced, Done, Failed, Message, Placed, Ready, Said
from flashbulb.audit.run.quiet import quieten_libraries


class UnreadableError(RuntimeError):
    """What a worker raised, in words: the error itself cannot be sent."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs, as the process that started it.

    Args:
        folder: current directory, to which paths are relative.
        umask: rights that its files do not give.
        n_threads: threads of the CPU that it uses.
        number: of the worker, from 0, which chooses its GPU where it sees several.
    """

    folder: Path
    umask: int
    n_threads: int
    number: int

    @classmethod
    def of_this_process(cls, n_threads: int, number: int) -> Place:
        """Return a place in the same folder, with the same rights."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(Path.cwd(), umask, n_threads, number)


def serve(place: Place, receive: Callable[[], Any], send: Callable[[Message], None]) -> None:
    """Receive a `Work`, then perform the tasks that follow it.

    Raises:
        EOFError, BrokenPipeError: nobody listens any longer.
    """
    logging.basicConfig(level=logging.WARNING, handlers=[_Forwarded(send)], force=True)
    quieten_libraries()
    send(Placed())
    try:
        os.chdir(place.folder)
        os.umask(place.umask)
        _perform(place, receive, send)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # the outermost boundary of the process
        error.add_note(f"in worker {place.number}:\n{traceback.format_exc()}")
        send(Failed(_sendable(error)))


def _sendable(error: Exception) -> Exception:
    """Return the error, or one with its text where the other process could not read it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # errors of libraries decide by themselves what they raise
        told = UnreadableError(f"{type(error).__name__}: {error}")
        told.__notes__ = error.__notes__
        return told
    return error


def _perform(place: Place, receive: Callable[[], Any], send: Callable[[Message], None]) -> None:
    import torch
    from tqdm import tqdm  # type: ignore[import-untyped]

    from flashbulb.audit.run.torch_state import computing

    tqdm.set_lock(RLock())  # its own is a semaphore, of which Python complains once a worker is killed
    work = receive()
    torch.set_num_threads(place.n_threads)
    if work.device == "cuda":
        if not torch.cuda.is_available():
            raise OSError(errno.ENODEV, "no GPU that PyTorch can use")
        torch.cuda.set_device(place.number % torch.cuda.device_count())
    with computing(), work.opened() as perform:
        send(Ready())
        while True:
            send(Done(perform(receive(), lambda n=1, remark="": send(Advanced(n, remark)))))


class _Forwarded(logging.Handler):
    """Sends warnings to the log of the process that hands out the tasks."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(Said(record.levelno, record.getMessage()))
