"""How a command ends that is interrupted: by Ctrl-C, or by SIGTERM, before it begins or later."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import NoReturn

EXIT_INTERRUPTED, EXIT_TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

_terminated = Event()


class InterruptedEarly(Exception):  # noqa: N818
    """A command was interrupted before it began; click would turn the interrupt into a silent 130."""


@contextmanager
def interrupts_as_errors() -> Iterator[None]:
    """Raise InterruptedEarly where the block is interrupted."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedEarly from error


def interrupt_code() -> int:
    """Return the exit code of a command that was interrupted: 130 by Ctrl-C, 143 by SIGTERM."""
    return EXIT_TERMINATED if _terminated.is_set() else EXIT_INTERRUPTED


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which schedulers and containers send, interrupt the block as Ctrl-C does."""

    def terminate(_number: int, _frame: object) -> NoReturn:
        _terminated.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
