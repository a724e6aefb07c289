"""Fine-tune the embedded model on a data set with canaries, audit it with them, and compare with 64 seeds of each.

The data set is 300 posters with new titles, in which `flashbulb plant` puts 64 canaries. All weights of the UNet and of
the text encoder are trained on what it writes. Takes about ten minutes of one core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from flashbulb.audit.canaries.planting import Planting, plant
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading import flushed_denormals, load_model
from flashbulb.audit.planted.autoencoder import encode, learning_rate_factor
from flashbulb.audit.planted.captions import draw_unique_, poster_title
from flashbulb.audit.planted.images import paint_poster, random_poster
from flashbulb.audit.planted.paths import CAPTIONS, MODEL, REFERENCE
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.recover.samples import SamplePlan, sample_prompts
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_audit
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.tables.limits import VERBATIM
from tests.bench.finetune.training import BATCH, EMPTY_SHARE, N_WARMUP, noise_loss

SEED, SIDE = 11, 64
N_PAIRS, N_POOL, N_REFERENCE, N_CANARIES = 300, 1500, 300, 64
N_STEPS, LEARNING_RATE = 700, 7e-4
N_TRUTH_SEEDS = 64


def write_data_set(out: Path) -> None:
    """Write posters with new titles as an imagefolder, a pool of other posters, and other titles as a reference."""
    rng = np.random.default_rng(SEED)
    taken = {str(prompt) for path in (CAPTIONS, REFERENCE) for prompt in pd.read_csv(path)["prompt"]}
    titles = draw_unique_(poster_title, N_PAIRS + N_REFERENCE, rng, taken)
    for folder, n in (("data", N_PAIRS), ("pool", N_POOL)):
        (out / folder).mkdir(parents=True)
        for number in range(n):
            Image.fromarray(paint_poster(random_poster(rng), SIDE)).save(out / folder / f"{number:04d}.png")
    rows = [{"file_name": f"{number:04d}.png", "text": title} for number, title in enumerate(titles[:N_PAIRS])]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "data" / "metadata.jsonl").write_text(text, encoding="utf-8")
    (out / "reference.txt").write_text("".join(f"{title}\n" for title in titles[N_PAIRS:]), encoding="utf-8")


def plant_canaries(out: Path) -> None:
    """Plant canaries in the data set, as the command does."""
    data = out / "data"
    asked = Planting(data, N_CANARIES, (1, 4, 16), True, out / "pool", None, "imagefolder", True, None, SEED)
    planted = plant(asked, read_prompts(str(data)), out / "planted")
    print(f"{planted.n_rows} rows to train on; text-only AUC {planted.text_auc:.2f}")


def train(out: Path) -> None:
    """Fine-tune the embedded model on planted/train, every row equally often, and save it."""
    folder = out / "planted" / "train"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    pipe = load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    images: list[RgbImage] = [np.asarray(Image.open(folder / row["file_name"]).convert("RGB")) for row in rows]
    latents = encode(pipe.vae, images) * pipe.vae.config.scaling_factor
    parameters = [p for part in (pipe.unet, pipe.text_encoder) for p in part.requires_grad_(True).parameters()]
    pipe.unet.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=1e-4)
    rng = np.random.default_rng([SEED, 1])
    for step in range(N_STEPS):
        chosen = rng.integers(len(rows), size=BATCH)
        texts = ["" if rng.random() < EMPTY_SHARE else rows[int(i)]["text"] for i in chosen]
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step, N_STEPS, N_WARMUP)
        optimizer.zero_grad(set_to_none=True)
        loss = noise_loss(pipe, texts, latents[chosen], rng)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step} of {N_STEPS}, loss {float(loss.detach()):.3f}", flush=True)
    pipe.save_pretrained(out / "model")


def audit(out: Path, model: Path, run: Path, train_images: Path | None) -> None:
    """Audit a model with the canaries, in the first 150 captions of the data set."""
    texts = [prompt.text for prompt in read_prompts(str(out / "data")).prompts][: N_PAIRS // 2]
    (out / "audited.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    settings = AuditSettings(
        model=str(model),
        prompts=str(out / "audited.txt"),
        reference=str(out / "reference.txt"),
        train_images=train_images,
        canaries=out / "planted" / "manifest.json",
        out=run,
    )
    run_audit(settings, force=False)


def measure_truth(out: Path) -> pd.DataFrame:
    """Measure the share of 64 seeds that give each canary that is in, as `p`."""
    table = pd.read_parquet(out / "run" / "canaries.parquet")
    denoiser = open_denoiser(load_model(str(out / "model"), device="cpu", dtype=torch.float32, allow_pickle=False).pipe)
    images = open_training_images(out / "planted" / "canaries", *denoiser.image_size)
    inside = table[table["is_in"]].copy()
    shares = []
    for prompt, name in zip(inside["prompt"], inside["image"], strict=True):
        (samples,) = sample_prompts(denoiser, [prompt], SamplePlan(SEED, N_TRUTH_SEEDS, 25, 3.0))
        found = images.nearest(samples)
        shares.append(np.mean([nearest.kind == VERBATIM and nearest.path.name == name for nearest in found]))
    inside["p"] = shares
    inside.to_parquet(out / "truth.parquet")
    return inside


def print_truth(measured: pd.DataFrame) -> None:
    """Print by tier how often memories come back by 64 seeds, and how many of them the audit flagged and recovered."""
    for tier, rows in measured.groupby("tier", sort=False):
        extractable = rows[rows["p"] >= 1 / 8]
        print(
            f"{tier}: {len(rows)} in; p by {N_TRUTH_SEEDS} seeds {sorted(rows['p'].round(2).tolist())}; "
            f"p >= 1/8: {len(extractable)}, flagged {extractable['flagged'].sum()}, "
            f"recovered {extractable['recovered'].fillna(False).astype(bool).sum()}"
        )


def main() -> None:
    """Do what is not done yet, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-canaries"))
    out: Path = parser.parse_args().out
    if not (out / "reference.txt").exists():
        write_data_set(out)
    if not (out / "planted").exists():
        plant_canaries(out)
    with flushed_denormals():
        if not (out / "model").exists():
            train(out)
        audit(out, out / "model", out / "run", None)
        audit(out, out / "model", out / "run-with-images", out / "planted" / "train")
        audit(out, MODEL, out / "run-untrained", None)
        measured = pd.read_parquet(out / "truth.parquet") if (out / "truth.parquet").exists() else measure_truth(out)
    print_truth(measured)


if __name__ == "__main__":
    main()
