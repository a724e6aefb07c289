"""How a command ends that is interrupted: by Ctrl-C, or by SIGTERM, before it begins or later."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import NoReturn

EXIT_INTERRUPTED, EXIT_TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

_interrupted, _terminated = Event(), Event()


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


def was_interrupted() -> bool:
    """Return whether a signal came. An interrupt inside of torch becomes an error about the file that it reads."""
    return _interrupted.is_set()


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which schedulers and containers send, interrupt the block as Ctrl-C does."""

    def interrupt(number: int, _frame: object) -> NoReturn:
        _interrupted.set()
        if number == signal.SIGTERM:
            _terminated.set()
        raise KeyboardInterrupt

    ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a job in the background of a shell
    numbers = (signal.SIGTERM,) if ignores else (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
