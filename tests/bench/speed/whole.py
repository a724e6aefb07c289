"""What an audit's scores cost in whole processes, start-up and Parquet included, beside the peers' script.

A cost is a start and an amount a prompt, from two numbers of prompts; so the peers' 50 steps need no thousand prompts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from flashbulb.audit.planted.paths import FOLDER, MODEL
from tests.bench.speed.growth import cost_of, cost_of_command, write_prompts

N_PROMPTS = 1_000
_REFERENCE = ("--reference", FOLDER / "reference.csv")


class Whole(NamedTuple):
    """CPU seconds of all processes of one way, for `N_PROMPTS` prompts, from its start and its cost a prompt.

    Args:
        to_peers: ratio to the peers' script in one step with as many seeds; `to_published`: in 50 steps with images.
    """

    way: str
    seeds: int
    start_s: float
    ms_a_prompt: float
    thousand_prompts_s: float
    to_peers: float
    to_published: float


def measure_whole(work: Path, few: int, many: int) -> Iterator[Whole]:
    """Yield the ways at four seeds and at one, each from runs of `few` and `many` prompts."""
    for n_seeds in (4, 1):
        costs = _costs(work, n_seeds, few, many)
        totals = {way: start + N_PROMPTS * each for way, (start, each) in costs.items()}
        one_step, published = list(totals.values())[:2]
        for way, (start, each) in costs.items():
            total = totals[way]
            whole = Whole(way, n_seeds, start, 1000 * each, total, total / one_step, total / published)
            print(whole, flush=True)
            yield whole


def _costs(work: Path, n_seeds: int, few: int, many: int) -> dict[str, tuple[float, float]]:
    """Return the CPU seconds of a start and those of each prompt, by way."""
    options = ("--seeds", n_seeds, "--no-examine", "--batch-size", 32)
    calibration = work / f"calibration-{n_seeds}"
    cost_of("calibrate", "--model", MODEL, *_REFERENCE, "--out", calibration, *options[:2], *options[3:])

    def flashbulb(n: int, name: str, *inputs: object) -> float:
        prompts, run = write_prompts(work / f"prompts-{n}.csv", n), work / f"{name}-{n_seeds}-{n}"
        arguments = ("--model", MODEL, "--prompts", prompts, *inputs, "--out", run, *options, "--max-sampled", 0)
        return cost_of("audit", *arguments).cpu_s

    def peers(n: int, n_steps: int) -> float:
        prompts, module = write_prompts(work / f"prompts-{n}.csv", n), ("-m", "tests.bench.speed.peers")
        return cost_of_command(sys.executable, *module, MODEL, prompts, work / "out.jsonl", n_seeds, n_steps).cpu_s

    return {
        "peers, 1 step": _line(lambda n: peers(n, 1), few, many),
        "peers as published, 50 steps and images": _line(lambda n: peers(n, 50), 1, 3),
        "audit without recovery": _line(lambda n: flashbulb(n, "audit", *_REFERENCE), few, many),
        "audit without recovery, calibrated before": _line(
            lambda n: flashbulb(n, "calibrated", "--calibration", calibration), few, many
        ),
    }


def _line(seconds_of: Callable[[int], float], few: int, many: int) -> tuple[float, float]:
    """Return the seconds of a start, and those of each prompt."""
    seconds, more = seconds_of(few), seconds_of(many)
    each = (more - seconds) / (many - few)
    return seconds - few * each, each
