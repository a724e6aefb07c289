"""A process that records the shards it is given: it ends with the process that started it, however that ends.

It imports torch and its kin only when its log is set up.
"""

from __future__ import annotations

import logging
import os
import signal
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from flashbulb.audit.execute.messages import Advanced, Done, Failed, Ready, Said
from flashbulb.audit.run.quiet import quieten_libraries

if TYPE_CHECKING:
    from flashbulb.audit.execute.spec import RecorderSpec


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs, as the process that started it.

    Args:
        folder: current directory, to which paths are relative.
        umask: rights that its files do not give.
        n_threads: threads of the CPU that it uses.
        number: of the worker, from 0, which chooses its GPU where there are several.
    """

    folder: Path
    umask: int
    n_threads: int
    number: int


def work(place: Place, connection: Connection) -> None:
    """Receive what builds a recorder, then record the shards that come over the connection until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the one that started this decides
    Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, handlers=[_Forwarded(connection)], force=True)
    quieten_libraries()
    os.chdir(place.folder)
    os.umask(place.umask)
    with suppress(EOFError, BrokenPipeError):  # nobody listens any longer
        try:
            _record(connection.recv(), place, connection)
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:  # the outermost boundary of the process
            error.add_note(f"in worker {place.number}:\n{traceback.format_exc()}")
            connection.send(Failed(error))


def _record(spec: RecorderSpec, place: Place, connection: Connection) -> None:
    import torch

    from flashbulb.audit.model.loading import flushed_denormals

    torch.set_num_threads(place.n_threads)
    if spec.device == "cuda":
        torch.cuda.set_device(place.number % torch.cuda.device_count())
    with flushed_denormals(), spec.opened() as recorder:
        connection.send(Ready())
        while True:
            recorder.record_shards([connection.recv()], lambda n=1, remark="": connection.send(Advanced(n)))
            connection.send(Done())


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


class _Forwarded(logging.Handler):
    """Sends warnings to the log of the process that started this one."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(Said(record.levelno, record.getMessage()))
