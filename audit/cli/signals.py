"""Signals that end a command: SIGTERM, which schedulers and containers send, is treated as Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

EXIT_INTERRUPTED, EXIT_TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def interrupt_code(error: BaseException) -> int:
    """Return the exit code of a command that `error` interrupted: 130, or 143 after SIGTERM."""
    return EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Raise `Terminated` where the block is when SIGTERM arrives, so that it ends as after Ctrl-C."""

    def terminate(_number: int, _frame: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
