"""One thing that was tried, what had to come of it and what did, and tables of many."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Args:
        section: part of the bench.
        kind: row of the table, such as a command or a kind of damage.
        tried: the single thing, such as "SIGKILL at event 12, open scores.parquet.part".
        expected: what had to come of it.
        observed: exit codes and the error line.
        problem: None if it came.
    """

    section: str
    kind: str
    tried: str
    expected: str
    observed: str
    problem: str | None = None
    command: str = ""


def as_command(arguments: Iterable[object]) -> str:
    """Write a command as a shell reads it."""
    return shlex.join(["flashbulb", *map(str, arguments)])


def write_trials(trials: Sequence[Trial], path: Path) -> None:
    """Write every trial as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(trial) for trial in trials], indent=1) + "\n", encoding="utf-8")


def read_trials(path: Path) -> list[Trial]:
    """Read what `write_trials` wrote; nothing if there is no such file."""
    return [Trial(**trial) for trial in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def problems_of(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that went wrong."""
    return [trial for trial in trials if trial.problem is not None]
