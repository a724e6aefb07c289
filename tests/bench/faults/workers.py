"""Processes that share one recording are killed: workers, the command that hands out to them, and ranks.

The finished recording must equal that of one process, bit for bit.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.audit.commands import text_file
from tests.bench.faults.results import Result, read_result
from tests.bench.faults.runs import UNEXAMINED
from tests.bench.faults.toys import Toys
from tests.bench.faults.trials import Trial, as_command
from tests.processes import Ended, Forked, fork_flashbulb
from tests.ray_cluster import actors_under

N_PROMPTS = 80
SAME = "the recording equals that of one process"
ENVIRONMENT = {**UNEXAMINED, "OMP_NUM_THREADS": "1"}
_PATIENCE = 600.0


class Way(NamedTuple):
    """An executor, its options, and how to find its workers."""

    name: str
    options: tuple[object, ...]
    find_workers: Callable[[psutil.Process], list[psutil.Process]]


def try_workers(toys: Toys, work: Path, seed: int, n_kills: int, n_coordinators: int) -> Iterator[Trial]:
    """Kill `n_kills` workers of each executor in one run, the command itself `n_coordinators` times; ranks."""
    chance = random.Random(seed)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    arguments = _arguments(toys, work)
    alone = _started(arguments, work / "alone")
    assert _wait(alone).code == 0
    expected = _recorded(work / "alone")
    for way in (Way("local", (), _forked_workers), Way("ray", ("--executor", "ray"), actors_under)):
        options = (*arguments, *way.options, "--workers", 2)
        yield from _kill_workers(way, options, work / way.name, expected, n_kills)
        for number in range(n_coordinators):
            yield _kill_command(way, options, work / f"{way.name}-{number}", expected, chance)
    for number in range(n_coordinators):
        yield _kill_rank(arguments, work / f"ranks-{number}", expected, chance)


def _arguments(toys: Toys, work: Path) -> tuple[object, ...]:
    prompts = text_file(work / "many.txt", [f"a star over the sea, number {i}" for i in range(N_PROMPTS)])
    inputs = ("--model", toys.model, "--prompts", prompts, "--reference", toys.folder / "reference.txt")
    return ("record", *inputs, "--seeds", 8, "--shard-size", 1)


def _kill_workers(way: Way, options: tuple[object, ...], run: Path, expected: Result, n_kills: int) -> Iterator[Trial]:
    """Kill one worker after the other, spread over one run; each kill is a trial, and they share the outcome."""
    process, moments = _started(options, run), []
    command = psutil.Process(process.process.pid)
    for number in range(1, n_kills + 1):
        _wait_for_shards(process, run, number * N_PROMPTS // (n_kills + 1))
        workers: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):  # the command has ended
            while not (workers := way.find_workers(command)) and process.process.is_alive():
                time.sleep(0.01)  # all were killed, and others start
        if workers:
            workers[number % len(workers)].kill()
            moments.append(f"SIGKILL of a worker after {_n_shards(run)} shards")
    problem, observed = _outcome(process, run, expected)
    for moment in moments:
        yield Trial("workers", f"{way.name}: a worker", moment, SAME, observed, problem, as_command(options))


def _kill_command(way: Way, options: tuple[object, ...], run: Path, expected: Result, chance: random.Random) -> Trial:
    process = _started(options, run)
    _wait_for_shards(process, run, chance.randrange(1, N_PROMPTS // 2))
    workers = way.find_workers(psutil.Process(process.process.pid))
    process.process.kill()
    code, moment = _wait(process).code, f"SIGKILL of the command after {_n_shards(run)} shards"
    _, alive = psutil.wait_procs(workers, timeout=60)
    problem, observed = _outcome(_started(options, run), run, expected)
    problem = f"{len(alive)} workers outlive it" if alive else problem
    observed = f"{code}, then {observed}"
    return Trial("workers", f"{way.name}: the command", moment, SAME, observed, problem, as_command(options))


def _kill_rank(arguments: tuple[object, ...], run: Path, expected: Result, chance: random.Random) -> Trial:
    """Kill the second of two ranks; the first waits for it until both are started again."""
    options = (*arguments, "--shard", "ranks")
    first, second = (_started(options, run, rank) for rank in range(2))
    parts = Path(f"{run}.shards")
    _wait_for_shards(second, parts / "2-of-2", chance.randrange(1, N_PROMPTS // 4))
    for process in (second, first):
        process.process.kill()
    codes = [_wait(process).code for process in (first, second)]
    moment = f"SIGKILL of both ranks after {_n_shards(parts)} shards"
    first, second = (_started(options, run, rank) for rank in range(2))
    second_code = _wait(second).code
    problem, observed = _outcome(first, run, expected)
    problem = problem if second_code == 0 else f"the second rank again {second_code}"
    return Trial("workers", "ranks", moment, SAME, f"{codes}, then {observed}", problem, as_command(options))


def _started(options: tuple[object, ...], run: Path, rank: int | None = None) -> Forked:
    ranks = {} if rank is None else {"RANK": str(rank), "WORLD_SIZE": "2"}
    return fork_flashbulb(*options, "--out", run, environment={**ENVIRONMENT, **ranks})


def _wait(process: Forked) -> Ended:
    process.process.join(timeout=_PATIENCE)
    return process.wait()


def _outcome(process: Forked, run: Path, expected: Result) -> tuple[str | None, str]:
    """Wait for the end; return the problem and the exit code."""
    ended = _wait(process)
    if ended.code != 0:
        return f"exit code {ended.code} {ended.err[-300:]}", str(ended.code)
    differences = expected.differences(_recorded(run))
    return (f"lost: {'; '.join(differences[:4])}" if differences else None), str(ended.code)


def _recorded(run: Path) -> Result:
    return read_result(run / "activations")


def _n_shards(run: Path) -> int:
    return sum(1 for _ in run.rglob("step/part-*.json"))


def _wait_for_shards(process: Forked, run: Path, n: int) -> None:
    since = time.monotonic()
    while process.process.is_alive() and _n_shards(run) < n and time.monotonic() - since < _PATIENCE:
        time.sleep(0.01)


def _forked_workers(command: psutil.Process) -> list[psutil.Process]:
    """Return the processes that the command's own server of forks has forked."""
    return [child for child in command.children(recursive=True) if child.ppid() != command.pid]
