"""Fine-tune the embedded model on a data set with canaries, audit it with them, and compare with 64 seeds of each.

The data set is 300 posters with new titles, in which `flashbulb plant` puts 64 canaries. All weights of the UNet and of
the text encoder are trained on what it writes. Takes about ten minutes of one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from flashbulb.audit.canaries.planting import Planting, plant
from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.autoencoder import encode, learning_rate_factor
from flashbulb.audit.planted.captions import draw_unique_, poster_title
from flashbulb.audit.planted.images import paint_poster, random_poster
from flashbulb.audit.planted.paths import CAPTIONS, MODEL, REFERENCE
from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.recover.samples import SamplePlan, sample_prompts
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.audit import run_audit
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.bounds.rates import exact_interval
from flashbulb.reports.tables.limits import VERBATIM
from tests.bench.finetune.training import BATCH, EMPTY_SHARE, N_WARMUP, noise_loss
from tests.bench.sensitivity import share_text
from tests.bench.truth.bands import BANDS, band_of

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
    inside = table[table["is_in"]]
    shares = []
    for prompt, name in zip(inside["prompt"], inside["image"], strict=True):
        (samples,) = sample_prompts(denoiser, [prompt], SamplePlan(SEED, N_TRUTH_SEEDS, 25, 3.0))
        found = images.nearest(samples)
        shares.append(np.mean([nearest.kind == VERBATIM and nearest.path.name == name for nearest in found]))
    measured = pd.DataFrame({"canary_id": inside["canary_id"].tolist(), "p": shares})
    measured.to_parquet(out / "truth.parquet")
    return measured


def truth_lines(out: Path, measured: pd.DataFrame) -> Iterator[str]:
    """Yield a table in Markdown: by tier and band of p, how many canaries the audits detected and recovered."""
    blind, given = (_found(out / run) for run in ("run", "run-with-images"))
    rows = blind.join(given["recovered"].rename("with_images")).join(measured.set_index("canary_id")["p"], how="inner")
    rows["n_replicating"] = (rows["p"] * N_TRUTH_SEEDS).round().astype(int)
    rows["band"] = [band_of(n, N_TRUTH_SEEDS) for n in rows["n_replicating"]]
    yield f"| tier | p by {N_TRUTH_SEEDS} seeds | in | p of each | detected | recovered | with training images |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for tier, tier_rows in rows.groupby("tier", sort=False):
        for band in BANDS:
            band_rows = tier_rows[tier_rows["band"] == band].sort_values("p")
            if len(band_rows):
                counts = " | ".join(share_text(band_rows[name]) for name in ("flagged", "recovered", "with_images"))
                each = dict.fromkeys(_interval(n) for n in band_rows["n_replicating"])
                yield f"| {tier} | {band} | {len(band_rows)} | {', '.join(each)} | {counts} |"
    extractable = rows[rows["n_replicating"] >= N_TRUTH_SEEDS / 8]
    found = ", ".join(f"{name} {share_text(extractable[name])}" for name in ("flagged", "recovered", "with_images"))
    yield f"p >= 1/8 in all tiers: {len(extractable)}; {found}"


def _found(run: Path) -> pd.DataFrame:
    table = pd.read_parquet(run / "canaries.parquet").set_index("canary_id")
    return table.assign(recovered=table["recovered"].fillna(False).astype(bool))


def _interval(n_replicating: int) -> str:
    interval = exact_interval(n_replicating, N_TRUTH_SEEDS)
    return f"{n_replicating / N_TRUTH_SEEDS:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def main() -> None:
    """Do what is not done yet, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-canaries"))
    out: Path = parser.parse_args().out
    if not (out / "reference.txt").exists():
        write_data_set(out)
    if not (out / "planted").exists():
        plant_canaries(out)
    with computing():
        if not (out / "model").exists():
            train(out)
        audit(out, out / "model", out / "run", None)
        audit(out, out / "model", out / "run-with-images", out / "planted" / "train")
        audit(out, MODEL, out / "run-untrained", None)
        measured = pd.read_parquet(out / "truth.parquet") if (out / "truth.parquet").exists() else measure_truth(out)
    print("\n".join(truth_lines(out, measured)))


if __name__ == "__main__":
    main()
