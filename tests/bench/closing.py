"""`make bench-closing`: how often findings of a discovery are right after closing looks, and looks at other images.

A control is an image that was never trained on, painted anew by the recipe of the model: an ascent can draw images
that are not memorized, and a look must not confirm them. What a look ends at may be a memory all the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.images.png import read_image
from flashbulb.audit.planted.presets import PRESETS
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.discover import run_discovery
from flashbulb.audit.stages.results.closing import closing_looks, outcome_of
from flashbulb.reports.bounds.rates import rate_of, rate_text
from flashbulb.reports.tables.files import DISCOVERY_DIRECTORY, IMAGES_DIRECTORY
from flashbulb.reports.views.discovery import Finding, load_discovery
from tests.bench.models import ALL, folder_of
from tests.bench.outcomes import Bench, Truth, open_bench
from tests.bench.pull import never_trained

BLOCK = 16


def main() -> None:
    """Run a discovery of each model with the command's defaults, and print verdicts against the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=["gazette"])
    parser.add_argument("--budget", type=int, default=80_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="run seeds")
    parser.add_argument("--never-trained", type=int, default=0, help="controls of a model")
    parser.add_argument("--device", default="cpu", help="of the searches")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-closing"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for model in arguments.models:
        folder = folder_of(model)
        for seed in arguments.seeds:
            out = arguments.out / f"{model}-{arguments.budget}-{seed}"
            settings = DiscoverSettings(
                model=str(folder / "model"),
                train_images=None,
                out=out,
                budget=arguments.budget,
                seed=seed,
                device=arguments.device,
                dtype="float32",
            )
            run_discovery(settings, force=False)
            print(f"\n{model}, run seed {seed}")
            found = judged(Truth(folder), out)
            print_found(found)
            with (arguments.out / "judged.jsonl").open("a") as lines:
                lines.write(json.dumps({"model": model, "seed": seed, **found}) + "\n")
        if arguments.never_trained:
            with computing():
                print_controls(open_bench(folder), model, arguments.never_trained)


def judged(truth: Truth, run: Path) -> dict[str, Any]:
    """Return what a search found against the truth, as JSON values.

    `findings` holds verdict, confidence, the planted image shown (None if there is none) and the UE spent by then.
    """
    record = load_discovery(run)
    findings = [(f.verdict, f.confidence, truth.shown(samples_of(run, f)), f.evaluations) for f in record.findings]
    found: dict[str, Any] = {"memorized": len(truth.memorized), "evaluations": sum(record.evaluations.values())}
    for verdict in ("confirmed", "likely"):
        shown = [name for finding_verdict, _, name, _ in findings if finding_verdict == verdict]
        images = len({*shown} & truth.memorized)
        found[verdict] = {"right": sum(name is not None for name in shown), "findings": len(shown), "images": images}
    images = len({name for _, _, name, _ in findings} & truth.memorized)
    counts = {"images": images, "starts": record.n_starts, "looks": record.closing.n_looked}
    return {**found, **counts, "findings": findings}


def print_found(found: dict[str, Any]) -> None:
    """Print how many findings of each verdict are right, and how many memorized images have one."""
    for verdict in ("confirmed", "likely"):
        counts = found[verdict]
        right = rate_text(rate_of(counts["right"], counts["findings"]))
        print(f"{verdict}: right {right}, memorized images {counts['images']}")
    print(f"with a verdict: {found['images']} of {found['memorized']}, {found['evaluations']:,} UE")


def samples_of(run: Path, finding: Finding) -> RgbImages:
    """Return what a closing look at a finding saw; of one that was not looked at, its image: [sample, …]."""
    looked = run / DISCOVERY_DIRECTORY / f"closing-{finding.finding_id}.safetensors"
    if looked.is_file():
        return np.asarray(load_file(looked)["images"])
    return read_image(run / IMAGES_DIRECTORY / f"{finding.finding_id}.png").pixels[None]


def print_controls(bench: Bench, model: str, n: int) -> None:
    """Look closely at images that were never trained on, and print the verdicts that show no planted image."""
    looks = closing_looks(DiscoverSettings(model="", train_images=None, out=Path()), bench.denoiser)
    images = never_trained(PRESETS[{"embedded": "posters"}.get(model, model)], n, seed=7)[1]
    verdicts: list[tuple[str, bool]] = []
    for first in range(0, n, BLOCK):
        keys: Sequence[str] = [f"never {i}" for i in range(first, min(first + BLOCK, n))]
        closed = looks.look(images[first : first + BLOCK], keys)
        verdicts += [(outcome_of(look, None).verdict, bench.truth.shown(look.images) is not None) for look in closed]
    for verdict in ("confirmed", "likely"):
        false = verdicts.count((verdict, False))
        print(
            f"never trained, {verdict}: false {rate_text(rate_of(false, n))}, right {verdicts.count((verdict, True))}"
        )


if __name__ == "__main__":
    main()
