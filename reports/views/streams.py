"""Standard streams on which a run shows what it does, and which may fail while the run goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

logger = logging.getLogger(__name__)


class LastingStream:
    """A standard stream that fails no run: once it cannot be written, what is printed is left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._lasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._lasting():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # its terminal was closed, its disk is full, or nobody reads the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # or Python fails to flush it on exit
            if not isinstance(error, BrokenPipeError):
                logger.warning("what the run prints cannot be shown: %s; its results are in its files", error.strerror)
