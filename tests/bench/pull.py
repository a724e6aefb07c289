"""`make bench-pull`: pull at memorized images and at images that were never trained on, without captions.

Never-trained images are painted anew by the recipe of the model: half like its titled images, half like its scenes.
The limits were chosen on `gazette` and `catalogue`; the other models judge. Half of the never-trained images of a
model are its controls, as a user gives them; the other half, and the planted images, are judged. Planted images are
taken from the highest band of the probability per seed of their captions (64 seeds) downwards; a run seed decides
every noise and which images are drawn.
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
from flashbulb.audit.images.png import pixel_key
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.collection import PLANTED_KINDS, WORLDS
from flashbulb.audit.planted.presets import PRESETS, Preset
from flashbulb.audit.pull.evidence import Evidence, evidence_of, is_out, score_of, threshold_of
from flashbulb.audit.pull.familiarity import familiarity
from flashbulb.audit.pull.pulling import pull
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import PullSettings
from flashbulb.audit.stages.pull import pull_plan, rank_plan
from flashbulb.reports.bounds.rates import rate_of, rate_text
from tests.bench.models import ALL, MODELS, folder_of
from tests.bench.outcomes import Truth
from tests.bench.truth.bands import BANDS
from tests.bench.truth.probabilities import best_truth

SETTINGS = PullSettings(model="", source=Path(), out=Path(), batch_size=16)
NEVER = "never trained"
Row = Mapping[str, Any]


def never_trained(preset: Preset, n: int, seed: int) -> tuple[list[str], RgbImages]:
    """Paint new images of the model's two styles, half of each."""
    world, rng, size = WORLDS[preset.world], np.random.default_rng(99 + seed), preset.picture_size
    painted = [world.titled_image(rng, size) if i % 2 else world.described(rng).paint(size, rng) for i in range(n)]
    return [f"{('scene', 'title')[i % 2]}-{i}" for i in range(n)], np.stack(painted)


def planted_bands(folder: Path) -> dict[str, str]:
    """Return the band of the probability per seed of each planted image, the highest of its captions."""
    truth = best_truth(folder)
    planted = truth[truth["kind"].isin(PLANTED_KINDS)]
    return {picture: min(bands, key=BANDS.index) for picture, bands in planted.groupby("picture")["band"]}


def drawn_planted(folder: Path, n: int, rng: np.random.Generator) -> tuple[list[str], list[str], RgbImages]:
    """Draw planted images, of the highest band first; return their names, bands and pixels."""
    truth, bands = Truth(folder), planted_bands(folder)
    order = sorted(rng.permutation(len(truth.names)).tolist(), key=lambda i: BANDS.index(bands[truth.names[i]]))[:n]
    names = [truth.names[i] for i in order]
    return names, [bands[name] for name in names], truth.images[order]


def measure(name: str, sizes: tuple[int, int], seed: int, kept: Path) -> list[dict[str, Any]]:
    """Rank and pull at planted and never-trained images, in random order; one row an image, kept after each batch.

    Args:
        sizes: planted and never-trained images.
    """
    torch.set_num_threads(1)
    folder = folder_of(name)
    loaded = load_model(str(folder / "model"), device="cpu", dtype=torch.float32, allow_pickle=False)
    denoiser, settings = open_denoiser(loaded.pipe), SETTINGS.model_copy(update={"seed": seed})
    plan, rng = pull_plan(settings), np.random.default_rng(seed)
    names, bands, planted = drawn_planted(folder, sizes[0], rng)
    new, painted = never_trained(PRESETS[{"embedded": "posters"}.get(name, name)], sizes[1], seed)
    images, names, image_bands = np.concatenate([planted, painted]), names + new, [*bands, *[NEVER] * len(new)]
    order = rng.permutation(len(images))
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    for first in range(len(rows), len(images), plan.batch_size):
        chosen = order[first : first + plan.batch_size]
        batch = images[chosen]
        known = familiarity(denoiser, batch, rank_plan(settings))
        samples = pull(denoiser, batch, [pixel_key(image) for image in batch], plan)
        for i, rank, image, shown in zip(chosen.tolist(), known.tolist(), batch, samples, strict=True):
            evidence = asdict(evidence_of(shown, image))
            rows.append({"name": names[i], "band": image_bands[i], "familiarity": rank, **evidence})
        kept.write_text(json.dumps(rows), encoding="utf-8")
        print(f"  {len(rows)} of {len(images)}", flush=True)
    return rows


def score(row: Row, lowest: float = -inf) -> float:
    """Return what decides, as a pull computes it: minus infinity for an image that is not ranked above `lowest`."""
    if row["familiarity"] <= lowest:
        return -inf
    evidence = Evidence(*(row[name] for name in ("n_samples", "n_copies", "closeness", "best")))
    return score_of(row["familiarity"], evidence, SETTINGS.min_copies)


def groups_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return planted images by band, the highest first, and the never-trained ones last; no empty group."""
    groups = {band: [row for row in rows if row["band"] == band] for band in (*BANDS, NEVER)}
    return {band: group for band, group in groups.items() if group}


def out_of(rows: Sequence[Row], with_controls: bool) -> dict[str, tuple[int, int]]:
    """Return how many images of each group are out, of how many; every second never-trained one may be a control."""
    groups = groups_of(rows)
    controls = groups[NEVER][::2] if with_controls else []
    lowest = float(np.median([row["familiarity"] for row in controls])) if controls else -inf
    threshold = threshold_of([score(r, lowest) for r in controls], SETTINGS.max_false, SETTINGS.planted_threshold)
    judged = {**groups, NEVER: groups[NEVER][1::2] if with_controls else groups[NEVER]}
    return {
        band: (sum(is_out(score(r, lowest), threshold) for r in group), len(group)) for band, group in judged.items()
    }


def print_rates(title: str, counts: Sequence[Mapping[str, tuple[int, int]]]) -> None:
    """Print the rates of each group, summed over run seeds."""
    for band in dict.fromkeys(band for seed_counts in counts for band in seed_counts):
        n_out, n = (sum(seed_counts[band][i] for seed_counts in counts if band in seed_counts) for i in (0, 1))
        by_seed = " ".join("/".join(map(str, seed_counts[band])) for seed_counts in counts if band in seed_counts)
        print(f"{title}: {band}: {rate_text(rate_of(n_out, n))}; by run seed {by_seed}")


def summarize(model: str, runs: Sequence[Sequence[Row]]) -> None:
    """Print how many images of each group come out, by the planted threshold and by controls, and median ranks."""
    print(f"\n{model}")
    print_rates("no controls", [out_of(rows, with_controls=False) for rows in runs])
    print_rates("half of the never-trained as controls", [out_of(rows, with_controls=True) for rows in runs])
    for rows in runs:
        ranks = {band: np.median([row["familiarity"] for row in group]) for band, group in groups_of(rows).items()}
        print("median familiarity:", ", ".join(f"{band} {rank:.2f}" for band, rank in ranks.items()))


def main() -> None:
    """Pull on each model and print its rates; rows are kept in --out, so that it resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=list(MODELS))
    parser.add_argument("--planted", type=int, default=50)
    parser.add_argument("--never-trained", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="run seeds")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-pull"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = arguments.planted, arguments.never_trained
    for model in arguments.models:
        runs = []
        for seed in arguments.seeds:
            started = time.process_time()
            with computing():
                runs.append(measure(model, sizes, seed, arguments.out / f"{model}-{seed}-{sizes[0]}-{sizes[1]}.json"))
            print(f"{model}, run seed {seed}: {time.process_time() - started:.0f} CPU seconds", flush=True)
        summarize(model, runs)


if __name__ == "__main__":
    main()
