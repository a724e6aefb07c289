"""What one recording costs with each executor, and whether its shards equal those of one process bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from flashbulb.audit.planted.paths import FOLDER, MODEL
from tests.audit.commands import digests
from tests.bench.speed.growth import write_prompts

WAYS = (
    ("one process", 1, ()),
    ("local", 2, ("--workers", 2)),
    ("ray", 1, ("--executor", "ray", "--workers", 1)),
    ("ray", 2, ("--executor", "ray", "--workers", 2)),
    ("ranks", 2, ("--shard", "ranks")),
)
_SECONDS_BETWEEN_LOOKS = 0.5


class Executed(NamedTuple):
    """One recording: seconds from the command's start to its end, and CPU seconds of all processes below it."""

    executor: str
    workers: int
    wall_s: float
    cpu_s: float
    prompts_per_s: float
    is_equal: bool


def measure_executors(work: Path, n_prompts: int) -> Iterator[Executed]:
    """Record the embedded model's reference and `n_prompts` candidates at one seed in every way; a thread a worker."""
    prompts, first = write_prompts(work / "prompts.csv", n_prompts), None
    inputs = ("--model", MODEL, "--prompts", prompts, "--reference", FOLDER / "reference.csv")
    n_recorded = n_prompts + len((FOLDER / "reference.csv").read_text("utf-8").splitlines()) - 1
    for number, (executor, n_workers, options) in enumerate(WAYS):
        run = work / f"run-{number}"
        command = ("record", *inputs, "--out", run, "--seeds", 1, "--no-examine", "--shard-size", 32, *options)
        n_commands = n_workers if executor == "ranks" else 1
        wall, cpu = _run(command, n_commands, n_workers)
        shards = {name: digest for name, digest in digests(run / "activations").items() if "/part-" in name}
        first = first or shards
        executed = Executed(executor, n_workers, wall, cpu, n_recorded / wall, shards == first)
        print(executed, flush=True)
        yield executed


def _run(command: tuple[object, ...], n_commands: int, n_workers: int) -> tuple[float, float]:
    """Run a command, or as many ranks of it, to its end; return wall and CPU seconds."""
    threads = "1" if n_commands > 1 else str(n_workers)  # a command divides its threads among its workers
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    started, seconds = time.monotonic(), dict[psutil.Process, float]()
    words = [sys.executable, "-m", "flashbulb", *map(str, command)]
    ranks = [{"RANK": str(rank), "WORLD_SIZE": str(n_commands)} for rank in range(n_commands)]
    processes = [
        psutil.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**environment, **rank})
        for rank in ranks
    ]
    while any(process.poll() is None for process in processes):
        for process in processes:
            _look(process, seconds)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    codes = [process.returncode for process in processes]
    if any(codes):
        raise RuntimeError(f"{' '.join(words)} ended with {codes}")
    return time.monotonic() - started, sum(seconds.values())


def _look(process: psutil.Process, seconds: dict[psutil.Process, float]) -> None:
    """Note the CPU seconds of a process and of all below it; those that end between two looks lose little."""
    try:
        for member in (process, *process.children(recursive=True)):
            times = member.cpu_times()
            seconds[member] = times.user + times.system
    except psutil.NoSuchProcess:
        pass
