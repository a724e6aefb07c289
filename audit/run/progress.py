"""Show the progress of long jobs and time the stages of a run.

On a terminal progress is a live bar, in a notebook a line that is updated; elsewhere a log line every few seconds.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from flashbulb.reports.views.streams import LastingStream

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_UPDATES = 0.5


class Advance(Protocol):
    """Report that `n` more units of the job are done, with an optional remark such as the loss."""

    def __call__(self, n: int = 1, remark: str = "") -> None: ...


class _SpeedColumn(TextColumn):
    def __init__(self, unit: str) -> None:
        super().__init__("")
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._unit}/s" if speed else "", style="cyan")


@contextmanager
def track(stage: str, total: int | None, unit: str, *, done: int = 0, vanishes: bool = False) -> Iterator[Advance]:
    """Show on stderr how much of `stage` is done, the units per second and the time left.

    Args:
        total: units of the stage; None where they are not known.
        done: units that an earlier run completed.
        vanishes: leave no bar behind, for a stage that goes on later.
    """
    if in_notebook():
        with _cell(stage, total, unit, done, vanishes) as advance:
            yield advance
    elif sys.stderr.isatty():
        with _bar(stage, total, unit, done, vanishes) as advance:
            yield advance
    else:
        with _lines(stage, total, unit, done) as advance:
            yield advance


@contextmanager
def _bar(stage: str, total: int | None, unit: str, done: int, vanishes: bool) -> Iterator[Advance]:
    columns = (
        TextColumn("[bold]{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        _SpeedColumn(unit),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[remark]}"),
    )
    terminal: Any = LastingStream(sys.stderr)
    with Progress(*columns, console=Console(file=terminal), transient=vanishes) as progress:
        task = progress.add_task(stage, total=total, completed=done, remark="")
        yield lambda n=1, remark="": progress.update(task, advance=n, remark=remark)


def in_notebook() -> bool:
    """Return whether the code runs in a notebook's kernel, whose output cells can be updated."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def _cell(stage: str, total: int | None, unit: str, done: int, vanishes: bool) -> Iterator[Advance]:
    """Show one line below the cell, and update it."""
    from IPython.display import display

    def line(count: int, speed: float) -> dict[str, str]:
        if total is None:
            return {"text/plain": f"{stage:<24} {count} {unit}"}
        left = f", {(total - count) / speed:.0f} s left" if speed and count < total else ""
        filled = 24 * count // max(total, 1)
        return {"text/plain": f"{stage:<24} {'█' * filled}{'░' * (24 - filled)} {count}/{total} {unit}{left}"}

    handle = display(line(done, 0.0), raw=True, display_id=True)
    yield _telling(
        total,
        done,
        _SECONDS_BETWEEN_UPDATES,
        lambda count, speed, _remark: handle.update(line(count, speed), raw=True),
    )
    if vanishes:
        handle.update({"text/plain": ""}, raw=True)


@contextmanager
def _lines(stage: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    def tell(count: int, speed: float, remark: str) -> None:
        if total is None:
            logger.info("%s %d %s, %.1f %s/s %s", stage, count, unit, speed, unit, remark)
            return
        left = f"{(total - count) / speed:.0f} s" if speed else "unknown"
        logger.info("%s %d/%d, %.1f %s/s, ETA %s %s", stage, count, total, speed, unit, left, remark)

    yield _telling(total, done, _SECONDS_BETWEEN_LINES, tell)


def _telling(total: int | None, done: int, seconds: float, tell: Callable[[int, float, str], None]) -> Advance:
    """Return what counts units, and tells their number, the speed and a remark every few seconds and at the end."""
    started = last = time.monotonic()
    count = done

    def advance(n: int = 1, remark: str = "") -> None:
        nonlocal last, count
        if not n and not remark:  # a sign of life, which tells nothing new
            return
        count += n
        now = time.monotonic()
        if now - last >= seconds or (total is not None and count >= total):
            last = now
            tell(count, (count - done) / max(now - started, 1e-9), remark)

    return advance


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent in each stage; entering a stage again adds to its time."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of stage `name`."""
        started = time.monotonic()
        yield
        seconds = self.seconds.get(name, 0.0) + time.monotonic() - started
        self.seconds[name] = round(seconds, 3)
