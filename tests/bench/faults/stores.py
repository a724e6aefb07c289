"""Runs in an object store: commands are killed at calls of the store, and the store fails every tenth call.

The same command again, with the cache that the kill left or on a machine that has none, must give the undisturbed run.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.faults.results import Result, read_result
from tests.bench.faults.runs import UNEXAMINED
from tests.bench.faults.toys import RECORDING, SAMPLING, Toys
from tests.bench.faults.trials import Trial, as_command
from tests.processes import Ended, Forked, fork_python
from tests.services.object_store import S3, Call, s3_server

RUN = "s3://bucket/runs/mine"
SAME = "as undisturbed"
_CODE = """
from flashbulb.audit.stores import claims, sending
sending._SECONDS_BETWEEN_LOOKS, claims.SECONDS_TO_DEATH = 0.05, 1.0
from flashbulb.audit.__main__ import main
main()
"""


class Stored(NamedTuple):
    """A command on a run in the store, and the state of that run from which it starts."""

    name: str
    state: str | None
    arguments: tuple[object, ...]


def try_stores(toys: Toys, work: Path, seed: int, n_kills: int) -> Iterator[Trial]:
    """Kill each command at `n_kills` calls, spread over all of its calls, and let it run once while calls fail."""
    chance = random.Random(seed)
    with s3_server() as s3:
        for command in _commands(toys, s3):
            shutil.rmtree(work, ignore_errors=True)  # a cache knows the runs of other commands
            work.mkdir(parents=True)
            _begin(toys, s3, command)
            before = len(s3.app.calls)
            ended = _started(command, work / "calm").wait()
            expected, n_calls = _stored(s3, work), len(s3.app.calls) - before
            if ended.code:
                yield _trial(command, "nothing", "nothing", ended, f"exit code {ended.code} {ended.err[-300:]}")
                continue
            for number in range(n_kills):
                call = int((number + chance.random()) * n_calls / n_kills)
                yield _kill(toys, s3, command, work, number, call, expected)
            yield _fail(toys, s3, command, work, expected)


def _commands(toys: Toys, s3: S3) -> list[Stored]:
    model, training = s3.put(toys.model, "inputs/model"), s3.put(toys.training, "inputs/training")
    prompts, reference = (s3.put(toys.folder / name, f"inputs/{name}") for name in ("prompts.txt", "reference.txt"))
    inputs = ("--model", model, "--prompts", prompts, "--reference", reference, "--out", RUN, *RECORDING)
    quick = (*SAMPLING, "--strategy", "sample", "--train-images", training)
    return [
        Stored("record", None, ("record", *inputs)),
        Stored("recover", "detected", ("recover", RUN, *quick)),
        Stored("audit", None, ("audit", *inputs, "--fpr", 0.2, *quick)),
    ]


def _begin(toys: Toys, s3: S3, command: Stored) -> None:
    """Let the store hold the run from which the command starts, or none."""
    for key in s3.keys("runs"):
        s3.files.delete_file(f"bucket/{key}")
    if command.state is not None:
        s3.put(toys.state(command.state) / "run", "runs/mine")


def _kill(toys: Toys, s3: S3, command: Stored, work: Path, number: int, call: int, expected: Result) -> Trial:
    """Kill a command at a call of the store; every second time another machine resumes it."""
    _begin(toys, s3, command)
    cache, left = work / f"machine {number}", call

    def kill(_call: Call) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            process.send_signal(9)

    process = _started(command, cache)
    s3.app.on_call = kill
    killed = process.wait()
    s3.app.on_call = lambda call: None
    is_new = number % 2 == 1
    again = _started(command, work / "another machine" if is_new else cache).wait()
    shutil.rmtree(work / "another machine", ignore_errors=True)
    tried = f"SIGKILL at call {call}, resumed {'on another machine' if is_new else 'on the same'}"
    problem = _problem(again, expected, _stored(s3, work))
    return _trial(command, "killed", tried, again, problem, f"{killed.code}, then ")


def _fail(toys: Toys, s3: S3, command: Stored, work: Path, expected: Result) -> Trial:
    """Run a command while every tenth call fails."""
    _begin(toys, s3, command)
    before, s3.app.fails_every = s3.app.n_failed, 10
    ended = _started(command, work / "failing").wait()
    s3.app.fails_every = 0
    tried = f"every tenth call fails, {s3.app.n_failed - before} in all"
    return _trial(command, "every tenth call fails", tried, ended, _problem(ended, expected, _stored(s3, work)))


def _started(command: Stored, cache: Path) -> Forked:
    environment = {**UNEXAMINED, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    return fork_python(_CODE, *command.arguments, environment=environment)


def _stored(s3: S3, work: Path) -> Result:
    """Read the run as any machine would fetch it."""
    folder = work / "fetched"
    shutil.rmtree(folder, ignore_errors=True)
    return read_result(s3.get("runs/mine", folder))


def _problem(ended: Ended, expected: Result, found: Result) -> str | None:
    if ended.code:
        return f"exit code {ended.code} {ended.err[-300:]}"
    differences = expected.differences(found)
    return f"lost: {'; '.join(differences[:4])}" if differences else None


def _trial(command: Stored, what: str, tried: str, ended: Ended, problem: str | None, before: str = "") -> Trial:
    observed = f"{before}{ended.code}"
    return Trial("stores", f"{command.name}: {what}", tried, SAME, observed, problem, as_command(command.arguments))
