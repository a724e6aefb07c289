"""`make bench-device`: recording, screening, ascents and sampling on a GPU, at the shapes of SD 1.5 and SDXL.

The weights are random and the tokenizer is a toy: speed and memory depend on neither. Prints each figure as it is
measured, and writes all of them, with a table of the kernels, into `--out`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks.offload import OFFLOADS
from tests.bench.device.networks import SHAPES, build
from tests.bench.device.offloaded import measure
from tests.bench.device.recording import (
    Bench,
    measure_batch_size,
    measure_profile,
    measure_recording,
    measure_screening,
    measure_writing,
)

PARTS = (
    *("recording", "dense", "bulk", "screening", "profile", "batch size"),
    *("channels_last", "bfloat16", "compiled", "offload"),
)


def main() -> None:
    """Measure the chosen parts of each shape, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=["SD 1.5", "SDXL"])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS[:-1])
    parser.add_argument("--ways", nargs="*", choices=("loaded", *OFFLOADS), default=("loaded", *OFFLOADS))
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--peers", type=int, default=2, help="1: without the peers' 50 steps")
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-device"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    written: list[dict[str, Any]] = []

    def say(shape: str, part: str, figures: Iterable[tuple[str, Any]]) -> None:
        started, row = time.perf_counter(), {"shape": shape, "part": part}
        written.append(row)
        try:
            for name, value in figures:
                row[name] = float(f"{value:.4g}") if isinstance(value, float) else value
                print(f"{shape}, {part}: {name}: {row[name]}", flush=True)
                (arguments.out / "device.json").write_text(json.dumps(written, indent=1) + "\n")
        except RuntimeError as error:  # the other parts are still worth their time
            row["failed"] = str(error)[:300]
            print(f"{shape}, {part}: failed: {row['failed']}", flush=True)
        print(f"{shape}, {part}: {time.perf_counter() - started:.1f} s", flush=True)

    machine = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }
    say("", "machine", machine.items())
    for shape in arguments.shapes:
        pipe = build(SHAPES[shape], arguments.device, "loaded")
        bench = Bench(open_denoiser(pipe), arguments.prompts, arguments.repeats)
        table = arguments.out / f"profile-{SHAPES[shape]}.txt"
        measures: dict[str, Iterable[tuple[str, Any]]] = {
            "recording": measure_recording(bench),
            "dense": measure_writing(bench, arguments.shards, "dense"),
            "bulk": measure_writing(bench, arguments.shards, "bulk"),
            "screening": measure_screening(bench, arguments.peers),
            "profile": measure_profile(bench, table),
            "batch size": measure_batch_size(bench),
        }
        for part in (part for part in measures if part in arguments.parts):
            say(shape, part, measures[part])
        for part, change in _CHANGES.items():
            if part in arguments.parts:
                change(pipe)
                changed = Bench(open_denoiser(pipe), arguments.prompts, arguments.repeats)
                say(shape, f"recording, {part}", measure_recording(changed))
        del pipe, bench
        torch.cuda.empty_cache()
        if "offload" in arguments.parts:
            rows: dict[str, Tensor] = {}
            for way in arguments.ways:
                denoiser = open_denoiser(build(SHAPES[shape], arguments.device, way))
                texts = [f"picture number {i} of a house" for i in range(16)]
                say(shape, f"weights {way}", measure(denoiser, texts, rows, arguments.repeats).items())
                del denoiser
                torch.cuda.empty_cache()


def _channels_last(pipe: Any) -> None:
    pipe.unet.to(memory_format=torch.channels_last)


def _bfloat16(pipe: Any) -> None:
    pipe.to(torch.bfloat16)


def _compiled(pipe: Any) -> None:
    torch._dynamo.config.skip_nnmodule_hook_guards = False  # hooks come and go
    pipe.unet.compile_repeated_blocks(dynamic=True)


_CHANGES = {"channels_last": _channels_last, "bfloat16": _bfloat16, "compiled": _compiled}
"""Each comes on top of those before."""


if __name__ == "__main__":
    main()
