"""What a prompt costs as the set of prompts grows: CPU time and peak memory of each command of a staged audit."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np

from flashbulb.audit.detectors import Vector
from flashbulb.audit.planted.captions import poster_title
from flashbulb.audit.planted.paths import FOLDER, MODEL
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_record
from flashbulb.audit.statistics.screening import Screen

SCREENED = ("--tiers", "screened", "--screened-share", "0.99")
"""Tier 0 reads every prompt, and about one in a hundred reaches the denoiser."""
_LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""
"""Linux counts the peak of the process that starts a command as the command's own, so a small one does it."""
_FEW_RECOVERED = ("--max-sampled", "1", "--strategy", "sample")


class Cost(NamedTuple):
    """What one command cost: CPU seconds of all its threads, and its peak resident memory in MiB."""

    cpu_s: float
    peak_mib: float


def write_prompts(path: Path, n: int) -> Path:
    """Write `n` distinct titles in the style of the embedded model's reference, the first ones equal for every `n`."""
    rng = np.random.default_rng(7)
    titles: dict[str, None] = {}
    while len(titles) < n:
        titles[poster_title(rng)] = None
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([title] for title in titles)])
    return path


def measure_stages(work: Path, n: int, options: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    """Yield the name and cost of each command of a staged audit of `n` prompts."""
    run, prompts = work / f"run-{n}", write_prompts(work / f"prompts-{n}.csv", n)
    inputs = ("--model", MODEL, "--prompts", prompts, "--reference", FOLDER / "reference.csv", "--out", run)
    yield "record", cost_of("record", *inputs, "--seeds", "1", "--no-examine", *options)
    yield from _measure_later_stages(run)


def measure_stages_after_tier_0(work: Path, n: int) -> Iterator[tuple[str, Cost]]:
    """Yield the name and cost of each command after `record`, of which tier 0 drew its scores instead of reading them.

    One prompt in a hundred is recorded. So a set of many prompts takes seconds.
    """
    run = work / f"run-{n}"
    settings = AuditSettings(
        model=str(MODEL),
        prompts=str(write_prompts(work / f"prompts-{n}.csv", n)),
        reference=str(FOLDER / "reference.csv"),
        train_images=None,
        out=run,
        n_seeds=1,
        tiers="screened",
        examine=False,
        device="cpu",
    )

    def draw(screen: Screen, _recorder: object, prompts: Sequence[object]) -> Vector:
        passes = np.random.default_rng(0).random(len(prompts)) < 0.01
        return screen.threshold + np.where(passes, 0.1, -0.1)

    with patch("flashbulb.audit.stages.record.screen_prompts", draw):
        run_record(settings, force=False)
    yield from _measure_later_stages(run)


def _measure_later_stages(run: Path) -> Iterator[tuple[str, Cost]]:
    yield "detect", cost_of("detect", run)
    yield "recover", cost_of("recover", run, *_FEW_RECOVERED)
    yield "report", cost_of("report", run)
    yield "gate", cost_of("gate", run)


def cost_of(*arguments: object) -> Cost:
    """Run a command of Flashbulb on one thread; a verdict of fail or inconclusive is no error."""
    return cost_of_command(sys.executable, "-m", "flashbulb", *arguments, verdicts=(1, 3))


def cost_of_command(*arguments: object, verdicts: Collection[int] = ()) -> Cost:
    """Run a command on one thread, from compiled modules as if it were installed.

    Args:
        verdicts: exit codes that are no errors, beside 0.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = list(map(str, arguments))
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True, env=environment)
    code, *cost = json.loads(done.stdout)
    if code not in (0, *verdicts):
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{done.stderr[-2000:]}")
    return Cost(*cost)
