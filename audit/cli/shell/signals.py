"""How a command ends that is interrupted: by Ctrl-C, SIGTERM or SIGHUP, before it begins or later."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

EXIT_INTERRUPTED = 128 + signal.SIGINT

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS_UNTIL_AGAIN = 0.05
_received: list[int] = []


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
    """Return the exit code of a command that was interrupted: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."""
    return 128 + next((number for number in _received if number != signal.SIGINT), signal.SIGINT)


def was_interrupted() -> bool:
    """Return whether a signal came. An interrupt inside of torch becomes an error about the file that it reads."""
    return bool(_received)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does.

    Schedulers and containers send the first, a terminal that closes the second. What whoever started the command
    ignores stays ignored: SIGHUP under nohup, SIGINT in the background of a shell.
    """

    def interrupt(number: int, _frame: object) -> NoReturn:
        _received.append(number)
        raise KeyboardInterrupt

    def come_again(ignored: sys.UnraisableHookArgs) -> None:
        """Interrupt again where Python lets no exception out, as in a finalizer."""
        if _received and ignored.exc_type is KeyboardInterrupt:
            threading.Timer(_SECONDS_UNTIL_AGAIN, os.kill, (os.getpid(), _received[-1])).start()
        else:
            hook_before(ignored)

    numbers = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    hook_before, sys.unraisablehook = sys.unraisablehook, come_again
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        sys.unraisablehook = hook_before
        for number, handler in before.items():
            signal.signal(number, handler)
