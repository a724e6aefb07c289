"""Run the product in a folder of its own, with a fault, and read how it ended."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.faults.injection import Plan
from tests.processes import fork_python

CODE = "from tests.bench.faults.injection import main; main()"
UNEXAMINED = {"FLASHBULB_EXAMINE": "false"}
"""Toy models have random weights, which an examination tells at once."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; the code is negative if a signal ended it."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines of stderr that are errors, not progress."""
        return [line for line in self.err.splitlines() if line.startswith("flashbulb: ")]

    def misbehaved(self) -> str | None:
        """Say what no command may do, whatever happens to it: print a traceback, or fail in more lines than one."""
        if "Traceback" in self.err or self.code == 4:
            return f"traceback: {_last_error(self.err)}"
        if self.code not in (0, 1) and self.code > 0 and len(self.lines) != 1:
            return f"{len(self.lines)} error lines"
        return None


def _last_error(err: str) -> str:
    lines = [line for line in err.splitlines() if line and not line.startswith((" ", "flashbulb: "))]
    return lines[-1][:200] if lines else "?"


def run(
    plan: Plan,
    arguments: Sequence[object],
    *,
    killed_after: float | None = None,
    number: int = signal.SIGKILL,
    examined: bool = False,
) -> Ended:
    """Run a command in the plan's folder.

    Args:
        killed_after: seconds after which the process gets the signal `number`.
    """
    pipes = [_Reader() for _ in range(2)]
    started = time.perf_counter()
    out, err = (pipe.end for pipe in pipes)
    environment = {"FLASHBULB_EXAMINE": "true"} if examined else UNEXAMINED
    process = fork_python(CODE, json.dumps(plan), *arguments, out=out, err=err, environment=environment)
    for pipe in pipes:
        os.close(pipe.end)
    if killed_after is not None:
        process.process.join(timeout=max(0.0, killed_after))
        if process.process.is_alive():
            process.send_signal(number)
    ended = process.wait()
    return Ended(ended.code, *(pipe.text() for pipe in pipes), time.perf_counter() - started)


class _Reader:
    """A pipe that is read until its other end is closed: a limit on files does not hold for it."""

    def __init__(self) -> None:
        self._source, self.end = os.pipe()
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while part := os.read(self._source, 1 << 16):
            self._parts.append(part)
        os.close(self._source)

    def text(self) -> str:
        self._thread.join()
        return b"".join(self._parts).decode(errors="backslashreplace")


def events_of(log: Path) -> list[str]:
    """Read the events that a counting run wrote."""
    return log.read_text(encoding="utf-8").splitlines()
