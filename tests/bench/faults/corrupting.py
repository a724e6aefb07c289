"""Runs inside a process of the bench: damage copies of a finished audit in turn, and run commands on them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flashbulb.audit.cli.app import EXIT_INTERNAL
from tests.audit.commands import run_flashbulb
from tests.bench.faults.mutations import Mutation, mutations
from tests.bench.faults.results import read_result

LONGEST = 60
"""Seconds that a command may take on a toy."""
MEMORY = 16 << 30
WRITING = ("detect", "audit", "recover", "localize")
"""Commands that change a run; after them it is judged again and compared."""


class Job(NamedTuple):
    """What one process does.

    Args:
        base: folder that holds `run`, the audit to damage; `other` holds another's.
        commands: arguments by name, run after the gate in the order of their turns.
        turns: names of commands; mutation i gets that at i modulo their number.
        first: index of the first mutation.
        out: file to which a line of JSON goes for each mutation.
    """

    base: str
    other: str
    work: str
    seed: int
    most: int
    commands: dict[str, list[str]]
    turns: list[str]
    first: int
    out: str


class TooSlow(BaseException):
    """A command does not end."""


def main() -> None:
    """Do the job that `sys.argv` holds as JSON."""
    job = Job(*json.loads(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _stop)
    folder = Path(job.work)
    calm: dict[str, Any] = {}
    with Path(job.out).open("a", encoding="utf-8") as lines:
        for index, mutation in enumerate(mutations(Path(job.base, "run"), Path(job.other, "run"), job.seed, job.most)):
            if index < job.first:
                continue
            command = job.turns[index % len(job.turns)]
            if command not in calm:
                _fresh(job, folder)
                _answer(job.commands[command])
                calm[command] = read_result(folder)
            print(json.dumps([index, *_tried(job, folder, mutation, command, calm[command])]), file=lines, flush=True)


def _stop(*_: object) -> None:
    raise TooSlow


def _fresh(job: Job, folder: Path) -> None:
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(job.base, folder)
    os.chdir(folder)


def _tried(job: Job, folder: Path, mutation: Mutation, command: str, calm: Any) -> Iterator[Any]:
    """Yield what was changed, the answers of the gate, the command and the gate after it, and differences."""
    _fresh(job, folder)
    mutation.change(folder / "run")
    yield from (mutation.kind, mutation.name, mutation.is_consistent, mutation.is_setting, command)
    yield _answer(["gate", "run"])
    second = _answer(job.commands[command])
    yield second
    yield _answer(["gate", "run"]) if command in WRITING else None
    yield calm.differences(read_result(folder)) if command in WRITING and second[0] == 0 else []


def _answer(arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process: its exit code, and its error lines or the error that it did not catch."""
    signal.alarm(LONGEST)
    try:
        answer = run_flashbulb(*arguments)
    except TooSlow:
        return EXIT_INTERNAL, f"no end within {LONGEST} s"
    except Exception as error:
        return EXIT_INTERNAL, repr(error)
    finally:
        signal.alarm(0)
    if "Traceback" in answer.err:
        last = [line for line in answer.err.splitlines() if line and not line.startswith((" ", "flashbulb: "))][-1]
        return EXIT_INTERNAL, last
    return answer.code, " ".join(answer.errors)


if __name__ == "__main__":
    main()
