"""Processes that share one job are killed: workers, the command that hands out to them, and ranks.

The job is a recording, a recovery, or a whole audit of a random sample. What comes of it must equal what one process
makes that nobody disturbs, bit for bit, and no gate passes what a killed command leaves.
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
from tests.services.ray_cluster import actors_under

N_PROMPTS, N_SAMPLED, N_RECOVERED, N_ORDINARY = 80, 24, 16, 8
SAME = "as of one process"
UNTRUSTED = 3
ENVIRONMENT = {**UNEXAMINED, "OMP_NUM_THREADS": "1"}
_DETECTION = ("--fpr", 0.2, "--max-style-shift", 1)  # so that all are flagged
_RECOVERY = (
    *("--samples", 2, "--sample-steps", 2, "--batch-size", 2, "--max-sampled", N_RECOVERED),
    *("--strategy", "sample", "--strategy", "ascend", "--ascend-steps", 1, "--ascend-restarts", 1),
)
_SHARDS, _IMAGES = "activations/*/step/part-*.json", "images/*/seed-1.png"
_PATIENCE = 600.0


class Job(NamedTuple):
    """What processes share.

    Args:
        arguments: of its command, but for where the run lies.
        start: the run that it continues; None if it begins one.
        signs: files below the run that tell how far it is.
        n_signs: of these when it is done.
    """

    name: str
    arguments: tuple[object, ...]
    start: Path | None
    signs: tuple[str, ...]
    n_signs: int

    def count(self, run: Path) -> int:
        """Count the signs in a run, or in the parts of one."""
        return sum(1 for sign in self.signs for _ in run.rglob(sign))

    def begin(self, run: Path, *options: object, rank: int | None = None) -> Forked:
        """Start the command, in a copy of the run that it continues unless there is one."""
        if self.start is not None and not run.exists():
            shutil.copytree(self.start, run)
        ranks = {} if rank is None else {"RANK": str(rank), "WORLD_SIZE": "2"}
        return fork_flashbulb(*self.command(run, *options), environment={**ENVIRONMENT, **ranks})

    def command(self, run: Path, *options: object) -> tuple[object, ...]:
        """Return the words of the command line."""
        name, *others = self.arguments
        return (name, *(("--out", run) if self.start is None else (run,)), *others, *options)


class Way(NamedTuple):
    """An executor, its options, and how to find its workers."""

    name: str
    options: tuple[object, ...]
    find_workers: Callable[[psutil.Process], list[psutil.Process]]


def try_workers(toys: Toys, work: Path, seed: int, n_kills: int, n_coordinators: int) -> Iterator[Trial]:
    """Kill `n_kills` workers of each executor in one run of each job, the command `n_coordinators` times; ranks."""
    chance = random.Random(seed)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    record, *others = jobs = _jobs(toys, work)
    expected: dict[str, Result] = {}
    for job in jobs:
        alone = work / f"{job.name} alone"
        assert _wait(job.begin(alone)).code == 0
        expected[job.name] = read_result(alone, knows_how=False)
        if job is record:
            shutil.copytree(alone, work / "detected")
            assert _wait(fork_flashbulb("detect", work / "detected", *_DETECTION, environment=ENVIRONMENT)).code == 0
    for job in (record, *others):
        for way in (Way("local", (), _forked_workers), Way("ray", ("--executor", "ray"), actors_under)):
            run = work / f"{job.name} {way.name}"
            yield from _kill_workers(job, way, run, expected[job.name], n_kills)
            for number in range(n_coordinators):
                yield _kill_command(job, way, run.with_name(f"{run.name} {number}"), expected[job.name], chance)
    for number in range(n_coordinators):
        yield _kill_ranks(record, work / f"ranks {number}", expected[record.name], chance)


def _jobs(toys: Toys, work: Path) -> list[Job]:
    """Return the recording first; its result is what the recovery starts from."""
    prompts = text_file(work / "many.txt", [f"a star over the sea, number {i}" for i in range(N_PROMPTS)])
    inputs = ("--model", toys.model, "--prompts", prompts, "--reference", toys.folder / "reference.txt")
    n_reference = len((toys.folder / "reference.txt").read_text(encoding="utf-8").splitlines())
    recording = (*inputs, "--shard-size", 1)
    sampled = ("--sample", N_SAMPLED, "--propensity", N_ORDINARY, *_DETECTION, *_RECOVERY)
    images = ("--train-images", toys.training)
    signs, n_signs = (_SHARDS, _IMAGES), n_reference + N_SAMPLED + N_RECOVERED
    return [
        Job("record", ("record", *recording, "--seeds", 8), None, (_SHARDS,), N_PROMPTS + n_reference),
        Job("recover", ("recover", *_RECOVERY, *images), work / "detected", (_IMAGES,), N_RECOVERED),
        Job("audit --sample", ("audit", *recording, "--seeds", 2, *sampled, *images), None, signs, n_signs),
    ]


def _kill_workers(job: Job, way: Way, run: Path, expected: Result, n_kills: int) -> Iterator[Trial]:
    """Kill one worker after the other, spread over one run; each kill is a trial, and they share the outcome."""
    options = (*way.options, "--workers", 2)
    process, moments = job.begin(run, *options), []
    command = psutil.Process(process.process.pid)
    for number in range(1, n_kills + 1):
        _wait_for_signs(process, job, run, number * job.n_signs // (n_kills + 1))
        workers: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):  # the command has ended
            while not (workers := way.find_workers(command)) and process.process.is_alive():
                time.sleep(0.01)  # all were killed, and others start
            if workers:
                moment = f"SIGKILL of a worker at {job.count(run)} of {job.n_signs}"
                workers[number % len(workers)].kill()
                moments.append(moment)
    problem, observed = _outcome(process, run, expected)
    command_line = as_command(job.command(run, *options))
    for moment in moments or ["nothing, it ended too early"]:
        problem = problem if moments else f"no worker was killed; {problem}"
        yield Trial("workers", f"{job.name}, {way.name}: a worker", moment, SAME, observed, problem, command_line)


def _kill_command(job: Job, way: Way, run: Path, expected: Result, chance: random.Random) -> Trial:
    options = (*way.options, "--workers", 2)
    process = job.begin(run, *options)
    _wait_for_signs(process, job, run, chance.randrange(1, job.n_signs // 2))
    workers: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # the command has ended
        workers = way.find_workers(psutil.Process(process.process.pid))
    process.process.kill()
    code, moment = _wait(process).code, f"SIGKILL of the command at {job.count(run)} of {job.n_signs}"
    _, alive = psutil.wait_procs(workers, timeout=60)
    judged = _wait(fork_flashbulb("gate", run, environment=ENVIRONMENT)).code
    problem, observed = _outcome(job.begin(run, *options), run, expected)
    problem = f"{len(alive)} workers outlive it" if alive else problem
    problem = f"gate says {judged} of what is left" if judged != UNTRUSTED else problem
    observed = f"{code}, gate {judged}, then {observed}"
    command_line = as_command(job.command(run, *options))
    return Trial("workers", f"{job.name}, {way.name}: the command", moment, SAME, observed, problem, command_line)


def _kill_ranks(job: Job, run: Path, expected: Result, chance: random.Random) -> Trial:
    """Kill both ranks, the second first; then both are started again."""
    options = ("--shard", "ranks")
    first, second = (job.begin(run, *options, rank=rank) for rank in range(2))
    parts = Path(f"{run}.shards")
    _wait_for_signs(second, job, parts / "2-of-2", chance.randrange(1, N_PROMPTS // 4))
    for process in (second, first):
        process.process.kill()
    codes = [_wait(process).code for process in (first, second)]
    moment = f"SIGKILL of both ranks at {job.count(parts)} of {job.n_signs}"
    first, second = (job.begin(run, *options, rank=rank) for rank in range(2))
    second_code = _wait(second).code
    problem, observed = _outcome(first, run, expected)
    problem = problem if second_code == 0 else f"the second rank again {second_code}"
    command_line = as_command(job.command(run, *options))
    return Trial("workers", f"{job.name}, ranks", moment, SAME, f"{codes}, then {observed}", problem, command_line)


def _wait(process: Forked) -> Ended:
    process.process.join(timeout=_PATIENCE)
    return process.wait()


def _outcome(process: Forked, run: Path, expected: Result) -> tuple[str | None, str]:
    """Wait for the end; return the problem and the exit code."""
    ended = _wait(process)
    if ended.code != 0:
        return f"exit code {ended.code} {ended.err[-300:]}", str(ended.code)
    differences = expected.differences(read_result(run, knows_how=False))
    return (f"lost: {'; '.join(differences[:4])}" if differences else None), str(ended.code)


def _wait_for_signs(process: Forked, job: Job, run: Path, n: int) -> None:
    since = time.monotonic()
    while process.process.is_alive() and job.count(run) < n and time.monotonic() - since < _PATIENCE:
        time.sleep(0.01)


def _forked_workers(command: psutil.Process) -> list[psutil.Process]:
    """Return the processes that the command's own server of forks has forked."""
    return [child for child in command.children(recursive=True) if child.ppid() != command.pid]
