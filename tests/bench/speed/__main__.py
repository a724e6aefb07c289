"""`make bench-speed`: ratios to the bare networks and the peers' way, what a prompt costs as sets grow, executors.

Writes JSON and a picture, and prints a table. `--part growth` takes minutes for ten thousand prompts.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.captions import poster_title
from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.views.markdown_parts import table
from tests.bench.device.networks import SHAPES as RELEASED
from tests.bench.device.networks import build
from tests.bench.models import folder_of
from tests.bench.speed.bulk import measure_bulk
from tests.bench.speed.executors import measure_executors
from tests.bench.speed.growth import SCREENED, measure_stages, measure_stages_after_tier_0
from tests.bench.speed.layouts import SHAPES, measure_layouts
from tests.bench.speed.picture import draw
from tests.bench.speed.ratios import measure_ratios
from tests.bench.speed.whole import measure_whole

PARTS = ("ratios", "layouts", "growth", "later", "executors", "bulk", "whole")


def main() -> None:
    """Measure the chosen parts, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="by default ratios")
    parser.add_argument("--model", default="embedded", help="of the ratios: a planted model, or the shape of a release")
    parser.add_argument("--prompts", type=int, default=64, help="of the ratios")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument(
        "--screened", type=int, nargs="*", default=[1_000, 10_000], help="growth and later: prompts at tier 0"
    )
    parser.add_argument("--stepped", type=int, nargs="*", default=[2_000], help="growth: prompts at tier 1")
    parser.add_argument("--executed", type=int, default=600, help="executors: prompts to record in every way")
    parser.add_argument("--recorded", type=int, default=4_096, help="bulk: prompts to record in both layouts")
    parser.add_argument("--whole", type=int, nargs=2, default=[100, 500], help="whole: two numbers of prompts")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-speed"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "speed.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found["machine"] = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread"
    torch.set_num_threads(1)
    for part in arguments.part or ["ratios"]:
        found[part] = _MEASURES[part](arguments)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(_table(part, found[part]), flush=True)
    if found.keys() & {"ratios", "growth"}:
        draw(found, arguments.out / "speed.png")
    print(f"written to {arguments.out}")


def _ratios(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    prompts = [poster_title(rng) for _ in range(arguments.prompts)]
    pipe = _open(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    with computing():
        ratios = measure_ratios(open_denoiser(pipe), prompts, arguments.batch_size, arguments.turns)
    return [{**ratio._asdict(), "is_met": ratio.is_met} for ratio in ratios]


def _open(model: str) -> Any:
    """Return the pipeline of a planted model, or one of a release's shape with random weights, in float32."""
    if model in RELEASED:
        return build(RELEASED[model], "cpu", "loaded").to(dtype=torch.float32)
    return load_model(str(folder_of(model) / "model"), device="cpu", dtype=torch.float32, allow_pickle=False).pipe


def _layouts(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    names = ("million weights", "ms per UE", "ms per UE, channels last")
    return [dict(zip(names, measure_layouts(shape, 8, arguments.turns), strict=True)) for shape in SHAPES]


def _growth(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for tier, sizes, options in ((0, arguments.screened, SCREENED), (1, arguments.stepped, ())):
            for n in sizes:
                (folder := Path(work) / f"tier-{tier}").mkdir(exist_ok=True)
                for stage, cost in measure_stages(folder, n, options):
                    rows.append({"tier": tier, "prompts": n, "stage": stage, **cost._asdict()})
    return rows


def _later(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for n in arguments.screened:
            for stage, cost in measure_stages_after_tier_0(Path(work), n):
                rows.append({"tier": 0, "prompts": n, "stage": stage, **cost._asdict()})
                print(rows[-1], flush=True)
    return rows


def _executors(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as work:
        return [executed._asdict() for executed in measure_executors(Path(work), arguments.executed)]


def _bulk(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for n_seeds, n in ((1, arguments.recorded), (4, arguments.recorded // 4)):
        with tempfile.TemporaryDirectory() as work:
            rows += [recorded._asdict() for recorded in measure_bulk(Path(work), n, n_seeds)]
    return rows


def _whole(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as work:
        return [whole._asdict() for whole in measure_whole(Path(work), *arguments.whole)]


_MEASURES = {
    "ratios": _ratios,
    "layouts": _layouts,
    "growth": _growth,
    "later": _later,
    "executors": _executors,
    "bulk": _bulk,
    "whole": _whole,
}


def _table(part: str, rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    cells = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return "\n".join([part, *table(list(rows[0]), cells), ""])


if __name__ == "__main__":
    main()
