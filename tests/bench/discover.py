"""`make bench-discover`: blind search against other searches at equal UE, curves of distinct memorized images."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.figures.curves import discovery_curves
from tests.bench.models import MODELS
from tests.bench.outcomes import open_bench
from tests.bench.searches import SEARCHES


def main() -> None:
    """Run every search on a model and print distinct memorized images at the budget; curves as an image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", choices=MODELS)
    parser.add_argument("--budget", type=int, default=80_000)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-discover"))
    parser.add_argument("searches", nargs="*", default=list(SEARCHES))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / f"{arguments.model}-{arguments.budget}.json"
    curves = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    total = len(open_bench(MODELS[arguments.model]).truth.memorized)
    for name in arguments.searches:
        if name not in curves:
            started = time.monotonic()
            with computing():
                tally = SEARCHES[name](open_bench(MODELS[arguments.model]), arguments.budget)
            spent = min(tally.evaluations, arguments.budget)
            curves[name] = [*tally.curve, (spent, len(tally.names))]
            kept.write_text(json.dumps(curves), encoding="utf-8")
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"\n{arguments.model}: distinct memorized images of {total} at {arguments.budget} UE")
    for name, curve in curves.items():
        print(f"{name:24s} {curve[-1][1]:3d}  {curve[-1][1] / total:.0%}")
    discovery_curves(curves, total, arguments.out / f"{arguments.model}.png")


if __name__ == "__main__":
    main()
