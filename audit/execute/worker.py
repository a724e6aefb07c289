"""A process that records the shards it is given: it ends with the process that started it, however that ends."""

from __future__ import annotations

import logging
import os
import signal
import traceback
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import NamedTuple

import torch

from flashbulb.audit.execute.spec import RecorderSpec
from flashbulb.audit.model.loading import flushed_denormals


class Ready(NamedTuple):
    """The worker has loaded its model."""


class Advanced(NamedTuple):
    """So many more prompts of the shard are done."""

    n: int


class Done(NamedTuple):
    """The shard is written."""


class Said(NamedTuple):
    """A line for the log."""

    level: int
    text: str


class Failed(NamedTuple):
    """The worker ends with an error that another worker would meet as well."""

    error: Exception


Message = Ready | Advanced | Done | Said | Failed


def work(spec: RecorderSpec, number: int, n_threads: int, connection: Connection) -> None:
    """Record the shards that come over the connection until it closes.

    Args:
        number: of this worker, from 0, which chooses its device where there are several.
        n_threads: threads of the CPU that this worker uses.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the one that started this decides
    Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, handlers=[_Forwarded(connection)], force=True)
    torch.set_num_threads(n_threads)
    if spec.device == "cuda":
        torch.cuda.set_device(number % torch.cuda.device_count())
    with suppress(EOFError, BrokenPipeError):  # nobody listens any longer
        try:
            with flushed_denormals(), spec.opened() as recorder:
                connection.send(Ready())
                while True:
                    shard = connection.recv()
                    recorder.record_shards([shard], lambda n=1, remark="": connection.send(Advanced(n)))
                    connection.send(Done())
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:  # the outermost boundary of the process
            error.add_note(f"in worker {number}:\n{traceback.format_exc()}")
            connection.send(Failed(error))


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
