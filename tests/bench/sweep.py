"""At which step copying begins, by truth and by a sweep: one training, ten checkpoints (`make bench-sweep`).

The embedded model is fine-tuned on new pairs of its own world. Some are duplicated at graded rates. At each checkpoint
the truth is sampled, and `flashbulb sweep` audits all of them against the embedded model. One toy-sized model and one
seed: it shows the mechanism and no rate for other models.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.autoencoder import learning_rate_factor
from flashbulb.audit.planted.captions import draw_unique_
from flashbulb.audit.planted.collection import WORLDS, Collection, Entry
from flashbulb.audit.planted.paths import CAPTIONS, MODEL, REFERENCE
from flashbulb.audit.planted.presets import POSTERS
from flashbulb.audit.planted.truth import measure_truth
from flashbulb.audit.run.torch_state import computing
from flashbulb.reports.figures.drawing import CALM, GRID, INK, LEAK, MUTED, OCHRE, empty_figure, save_png
from tests.bench.finetune.training import BATCH, EMPTY_SHARE, N_WARMUP, latents_of, noise_loss

N_DUPLICATED, N_SAMPLED, N_OTHER = 24, 60, 540
DUPLICATED_SHARE = 0.4  # of the pairs of a step
RAREST = 1 / 10  # of the rate of the most duplicated pair
LEARNING_RATE = 3e-4
OnStep = Callable[[int, Any], None]


def new_pairs(seed: int) -> Collection:
    """Draw titles and images that the embedded model has never seen: duplicated ones, and others, some to be sampled.

    The weight of an entry is its share of the pairs of a step.
    """
    rng, world = np.random.default_rng([seed, 41]), WORLDS[POSTERS.world]
    taken = {str(prompt) for path in (CAPTIONS, REFERENCE) for prompt in pd.read_csv(path)["prompt"]}
    n_others = N_SAMPLED + N_OTHER
    titles = draw_unique_(world.title, N_DUPLICATED + n_others, rng, taken)
    images = {f"new-{i:03d}": world.titled_image(rng, POSTERS.picture_size) for i in range(len(titles))}
    kinds = ["planted_title"] * N_DUPLICATED + ["seen"] * N_SAMPLED + ["other"] * N_OTHER
    rates = np.geomspace(1, RAREST, N_DUPLICATED)
    weights = [*DUPLICATED_SHARE * rates / rates.sum(), *np.full(n_others, (1 - DUPLICATED_SHARE) / n_others)]
    entries = zip(titles, kinds, images, weights, strict=True)
    return Collection(tuple(Entry(t, k, i, float(w)) for t, k, i, w in entries), images, (), frozenset())


def fine_tune(collection: Collection, n_steps: int, seed: int, on_step: OnStep) -> None:
    """Train UNet and text encoder of the embedded model; calls `on_step` after each step with the pipeline."""
    pipe = load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    latents = latents_of(pipe, collection)
    rng, weights = np.random.default_rng([seed, 42]), [entry.weight for entry in collection.entries]
    parameters = [p for part in (pipe.unet, pipe.text_encoder) for p in part.requires_grad_(True).parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=1e-4)
    for step in range(n_steps):
        chosen = rng.choice(len(weights), BATCH, p=weights)
        texts = ["" if rng.random() < EMPTY_SHARE else collection.entries[i].prompt for i in chosen]
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step, n_steps, N_WARMUP)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(noise_loss(pipe, texts, latents[chosen], rng))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        on_step(step + 1, pipe)


def save_checkpoints(collection: Collection, steps: Sequence[int], seed: int, out: Path) -> list[Path]:
    """Train once and save the pipeline at these steps; a finished training is not repeated."""
    folders = {step: out / f"checkpoint-{step}" for step in steps}

    def save(step: int, pipe: Any) -> None:
        if step in folders:
            pipe.save_pretrained(folders[step])

    if not (folders[steps[-1]] / "model_index.json").exists():
        with computing():
            fine_tune(collection, steps[-1], seed, save)
    return list(folders.values())


def truth_of(checkpoint: Path, collection: Collection) -> pd.DataFrame:
    """Sample the duplicated captions and some of the others of a checkpoint, once."""
    path = checkpoint.with_name(f"{checkpoint.name}-truth.parquet")
    if not path.exists():
        pipe = load_model(str(checkpoint), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
        measure_truth(pipe, collection, path, POSTERS.truth_seeds)
    return pd.read_parquet(path)


def sweep(checkpoints: Sequence[Path], collection: Collection, out: Path) -> pd.DataFrame:
    """Sweep the checkpoints with all training captions and images; return sweep.parquet."""
    with (out / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([entry.prompt] for entry in collection.entries)])
    (out / "images").mkdir(exist_ok=True)
    for name, image in collection.images.items():
        Image.fromarray(image).save(out / "images" / f"{name}.png")
    files = ("--prompts", out / "captions.csv", "--reference", REFERENCE, "--train-images", out / "images")
    options = ("--baseline-model", MODEL, "--strategy", "sample", "--no-examine", "--out", out / "sweep")
    command = [sys.executable, "-m", "flashbulb", "sweep", *map(str, (*checkpoints, *files, *options))]
    subprocess.run(command, check=True)
    return pd.read_parquet(out / "sweep" / "sweep.parquet")


def side_by_side(swept: pd.DataFrame, collection: Collection, out: Path) -> pd.DataFrame:
    """Return a row for each checkpoint: what the truth says of its captions, and what the audit says."""
    image_of = {entry.prompt: entry.image for entry in collection.entries}
    duplicated = [entry.prompt for entry in collection.with_kind("planted_title")]
    rows = []
    for row in swept.itertuples():
        truth = truth_of(out / row.checkpoint, collection).set_index("prompt")["label"]
        run = out / "sweep" / row.run
        scores = pd.read_parquet(run / "scores.parquet").set_index("prompt")
        recovered = pd.read_parquet(run / "recoveries.parquet")
        found = recovered[(recovered["verdict"] == "confirmed") & ~recovered["is_control"]]
        images = {Path(str(path)).stem for path in found["nearest_image"]}
        others = truth.drop(duplicated)
        rows.append(
            {
                "step": row.step,
                "memorized": int((truth[duplicated] == "memorized").sum()),
                "partial": int((truth[duplicated] == "partial").sum()),
                "others": int((others == "memorized").sum()),
                "flagged_duplicated": int(scores.loc[duplicated, "flagged"].sum()),
                "flagged_others": int(scores.drop(duplicated)["flagged"].sum()),
                "median_excess": row.median_excess,
                "top_excess": row.top_excess,
                "confirmed": row.n_confirmed_images,
                "confirmed_duplicated": len(images & {image_of[prompt] for prompt in duplicated}),
                "gate": row.gate,
            }
        )
    return pd.DataFrame(rows)


def table_of(rows: pd.DataFrame) -> list[str]:
    """Return the rows as Markdown, and the first step at which truth and audit see copying."""
    lines = [
        f"| step | memorized of {N_DUPLICATED} duplicated (partly) | memorized of {N_SAMPLED} others "
        "| flagged: duplicated, others | median excess | top excess | confirmed images (duplicated) | gate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.step} | {r.memorized} ({r.partial}) | {r.others} | {r.flagged_duplicated}, {r.flagged_others} "
        f"| {r.median_excess:+.2f} | {r.top_excess:+.2f} | {r.confirmed} ({r.confirmed_duplicated}) | {r.gate} |"
        for r in rows.itertuples()
    ]
    for name, seen in (("truth", rows["memorized"] > 0), ("audit", rows["gate"] == "fail")):
        lines.append(f"{name} sees copying first at step {rows.loc[seen, 'step'].min() if seen.any() else 'never'}")
    return lines


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw truth and audit over the steps."""
    figure = empty_figure(6.6, 5.2)
    counts, excess = figure.subplots(2, sharex=True)
    counts.plot(rows["step"], rows["memorized"], "o-", markersize=4, color=INK, label="truth: memorized captions")
    counts.plot(rows["step"], rows["confirmed"], "o-", markersize=4, color=LEAK, label="sweep: confirmed images")
    counts.plot(
        rows["step"],
        rows["flagged_duplicated"],
        "o--",
        markersize=4,
        color=OCHRE,
        label="sweep: duplicated captions flagged",
    )
    counts.set_title(
        f"{N_DUPLICATED} duplicated captions among {N_DUPLICATED + N_SAMPLED + N_OTHER}", loc="left", fontsize=9
    )
    excess.plot(rows["step"], rows["top_excess"], "o-", markersize=4, color=LEAK, label="99th percentile")
    excess.plot(rows["step"], rows["median_excess"], "o-", markersize=4, color=CALM, label="median")
    excess.set_title("sweep: spike scores above the reference, in its spreads", loc="left", fontsize=9)
    counts.set_ylim(0, max(1, 1.3 * rows[["memorized", "confirmed", "flagged_duplicated"]].to_numpy().max()))
    for name, seen, color, height in (
        ("truth", rows["memorized"] > 0, INK, 0.98),
        ("sweep", rows["gate"] == "fail", LEAK, 0.88),
    ):
        if seen.any():
            first = rows.loc[seen, "step"].min()
            for axes in (counts, excess):
                axes.axvline(first, color=color, linestyle="-" if name == "truth" else "--", linewidth=0.9, zorder=1)
            at = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 8, "va": "top"}
            counts.annotate(f"{name}: first at step {first}", (first, height), (5, 0), color=color, **at)
    for axes in (counts, excess):
        _style(axes, rows["step"].tolist())
    excess.set_xlabel("training step (logarithmic)", fontsize=9)
    save_png(figure, path)


def _style(axes: Axes, steps: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=MUTED)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-sweep"))
    arguments = parser.parse_args()
    out: Path = arguments.out / f"{arguments.steps}-{arguments.seed}"
    out.mkdir(parents=True, exist_ok=True)
    collection = new_pairs(arguments.seed)
    steps = sorted({round(step) for step in np.geomspace(arguments.steps / 35, arguments.steps, arguments.checkpoints)})
    checkpoints = save_checkpoints(collection, steps, arguments.seed, out)
    rows = side_by_side(sweep(checkpoints, collection, out), collection, out)
    draw(rows, out / "onset.png")
    print("\n".join(table_of(rows)))


if __name__ == "__main__":
    main()
