"""`make bench-pull`: pull at memorized images and at images that were never trained on, without captions.

Never-trained images are painted anew by the recipe of the model: half like its titled images, half like its scenes.
The limits were chosen on `gazette` and `catalogue`; the other models judge. Half of the never-trained images of a
model are its controls, as a user gives them; the other half, and the memorized images, are judged.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading import flushed_denormals, load_model
from flashbulb.audit.planted.collection import WORLDS
from flashbulb.audit.planted.paths import FOLDER
from flashbulb.audit.planted.presets import PRESETS
from flashbulb.audit.pull.evidence import Evidence, evidence_of, is_out, score_of, threshold_of
from flashbulb.audit.pull.familiarity import familiarity
from flashbulb.audit.pull.pulling import pull
from flashbulb.audit.pull.store import key_of
from flashbulb.audit.settings import PullSettings
from flashbulb.audit.stages.pull import pull_plan, rank_plan
from flashbulb.reports.bounds.rates import rate_of, rate_text
from tests.bench.models import MODELS
from tests.bench.outcomes import Truth

SETTINGS = PullSettings(model="", source=Path(), out=Path(), batch_size=16)
Row = Mapping[str, Any]


def never_trained(folder: Path, n: int) -> tuple[list[str], RgbImages]:
    """Paint new images of the model's two styles, half of each."""
    preset = PRESETS[{FOLDER.name: "posters"}.get(folder.name, folder.name)]
    world, rng, size = WORLDS[preset.world], np.random.default_rng(99), preset.picture_size
    painted = [world.titled_image(rng, size) if i % 2 else world.described(rng).paint(size, rng) for i in range(n)]
    return [f"{('scene', 'title')[i % 2]}-{i}" for i in range(n)], np.stack(painted)


def measure(folder: Path, n_memorized: int, n_never: int, kept: Path) -> list[dict[str, Any]]:
    """Rank and pull at every image, in random order; one row an image, kept after each batch."""
    torch.set_num_threads(1)
    loaded = load_model(str(folder / "model"), device="cpu", dtype=torch.float32, allow_pickle=False)
    denoiser, truth, plan = open_denoiser(loaded.pipe), Truth(folder), pull_plan(SETTINGS)
    rng, (names, painted) = np.random.default_rng(0), never_trained(folder, n_never)
    memorized = rng.permutation([i for i, name in enumerate(truth.names) if name in truth.memorized])[:n_memorized]
    images = np.concatenate([truth.images[memorized], painted])
    names = [*(truth.names[i] for i in memorized), *names]
    order = rng.permutation(len(images))
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    for first in range(len(rows), len(images), plan.batch_size):
        chosen = order[first : first + plan.batch_size]
        batch = images[chosen]
        known = familiarity(denoiser, batch, rank_plan(SETTINGS))
        samples = pull(denoiser, batch, [key_of(image) for image in batch], plan)
        for i, rank, image, shown in zip(chosen.tolist(), known.tolist(), batch, samples, strict=True):
            evidence = asdict(evidence_of(shown, image))
            rows.append({"name": names[i], "is_memorized": i < len(memorized), "familiarity": rank, **evidence})
        kept.write_text(json.dumps(rows), encoding="utf-8")
        print(f"  {len(rows)} of {len(images)}", flush=True)
    return rows


def score(row: Row, lowest: float = -inf) -> float:
    """Return what decides, as a pull computes it: minus infinity for an image that is not ranked above `lowest`."""
    if row["familiarity"] <= lowest:
        return -inf
    evidence = Evidence(*(row[name] for name in ("n_samples", "n_copies", "closeness", "best")))
    return score_of(row["familiarity"], evidence, SETTINGS.min_copies)


def summarize(model: str, rows: Sequence[Row]) -> None:
    """Print how many memorized and never-trained images come out, by the planted threshold and by controls."""
    memorized, never = [r for r in rows if r["is_memorized"]], [r for r in rows if not r["is_memorized"]]
    controls, others = never[::2], never[1::2]
    lowest = float(np.median([r["familiarity"] for r in controls]))
    print(f"\n{model}")
    for name, scores, cut, judged in (
        ("threshold of planted models", [], -inf, never),
        (f"{len(controls)} controls", [score(r, lowest) for r in controls], lowest, others),
    ):
        threshold = threshold_of(scores, SETTINGS.max_false, SETTINGS.planted_threshold)
        for group, images in (("memorized", memorized), ("never trained", judged)):
            n_out = sum(is_out(score(r, cut), threshold) for r in images)
            print(f"{name}, {threshold.value:.2f}: {group} out: {rate_text(rate_of(n_out, len(images)))}")
    for group, images in (("memorized", memorized), ("never trained", never)):
        copies = np.bincount([r["n_copies"] for r in images], minlength=SETTINGS.n_samples + 1)
        print(f"images by number of replicating samples, {group}: {copies.tolist()}")
    ranks = [r["familiarity"] for r in never]
    above = [np.mean([rank >= r["familiarity"] for rank in ranks]) for r in memorized]
    print(f"never-trained images ranked above a memorized one: mean {np.mean(above):.4f}, worst {max(above):.3f}")


def main() -> None:
    """Pull on each model and print its rates; rows are kept in --out, so that it resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--memorized", type=int, default=30)
    parser.add_argument("--never-trained", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-pull"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        kept = arguments.out / f"{model}-{arguments.memorized}-{arguments.never_trained}.json"
        started = time.process_time()
        with flushed_denormals():
            rows = measure(MODELS[model], arguments.memorized, arguments.never_trained, kept)
        print(f"{model}: {time.process_time() - started:.0f} CPU seconds", flush=True)
        summarize(model, rows)


if __name__ == "__main__":
    main()
