"""What a base adds to an audit of its fine-tune: plain spike score against the difference (`make bench-finetune`).

The embedded model is fine-tuned on new pairs of its own world. A few are shown often, at graded rates, the others a few
times. One toy-sized model and one seed: it shows the mechanism and no rate for other models.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from flashbulb.audit.model.loading import flushed_denormals, load_model
from flashbulb.audit.planted.autoencoder import encode, learning_rate_factor
from flashbulb.audit.planted.captions import draw_unique_
from flashbulb.audit.planted.collection import WORLDS, Collection, Entry
from flashbulb.audit.planted.paths import FOLDER
from flashbulb.audit.planted.presets import POSTERS
from flashbulb.audit.planted.truth import measure_truth
from flashbulb.audit.statistics.separation import auc, tpr_at_fpr

N_DUPLICATED, N_RARE, N_OTHER = 12, 60, 200
DUPLICATED_SHARE = 0.4  # of the pairs of a step
RARE_VIEWS = 3
RAREST = 1 / 4  # of the rate of the most duplicated pair
BATCH, LEARNING_RATE, EMPTY_SHARE = 32, 3e-4, 0.1
SCORES = ("spike_score_finetune", "spike_score", "spike_score_base")


def new_pairs(seed: int) -> Collection:
    """Draw captions and images that the embedded model has never seen: duplicated, rare and other ones."""
    rng, world = np.random.default_rng([seed, 31]), WORLDS[POSTERS.world]
    known = pd.read_csv(FOLDER / "captions.csv")["prompt"], pd.read_csv(FOLDER / "reference.csv")["prompt"]
    taken = {str(prompt) for column in known for prompt in column}
    titles = draw_unique_(world.title, N_DUPLICATED + N_RARE + N_OTHER, rng, taken)
    images = {f"new-{i:03d}": world.titled_image(rng, POSTERS.picture_size) for i in range(len(titles))}
    kinds = ["planted_title"] * N_DUPLICATED + ["seen"] * N_RARE + ["other"] * N_OTHER
    rates = [*np.geomspace(1, RAREST, N_DUPLICATED), *np.zeros(N_RARE + N_OTHER)]
    entries = zip(titles, kinds, images, rates, strict=True)
    return Collection(tuple(Entry(t, k, i, float(r)) for t, k, i, r in entries), images, (), frozenset())


def fine_tune(collection: Collection, n_steps: int, seed: int, folder: Path) -> None:
    """Train UNet and text encoder of the embedded model on the pairs, and save the pipeline."""
    pipe = load_model(str(FOLDER / "model"), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    with torch.no_grad():
        latents = encode(pipe.vae, list(collection.images.values())) * pipe.vae.config.scaling_factor
    prompts = [entry.prompt for entry in collection.entries]
    rng, schedule = np.random.default_rng([seed, 32]), schedule_of(collection, n_steps, seed)
    parameters = [*pipe.unet.requires_grad_(True).parameters(), *pipe.text_encoder.requires_grad_(True).parameters()]
    optimizer, alphas = (
        torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=1e-4),
        pipe.scheduler.alphas_cumprod,
    )
    for step in range(n_steps):
        chosen = schedule[step]
        texts = ["" if rng.random() < EMPTY_SHARE else prompts[i] for i in chosen]
        noise = torch.from_numpy(rng.standard_normal((len(chosen), *latents.shape[1:]), dtype=np.float32))
        timesteps = torch.from_numpy(rng.integers(1000, size=len(chosen)))
        alpha = alphas[timesteps].reshape(-1, 1, 1, 1)
        ids = pipe.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=pipe.tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        noisy = alpha.sqrt() * latents[chosen] + (1 - alpha).sqrt() * noise
        predicted = pipe.unet(noisy, timesteps, encoder_hidden_states=pipe.text_encoder(ids)[0]).sample
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step, n_steps, 20)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(functional.mse_loss(predicted, noise))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    pipe.save_pretrained(folder)


def schedule_of(collection: Collection, n_steps: int, seed: int) -> list[list[int]]:
    """Return the pairs of each step: duplicated ones by their rates, each rare one three times, and other ones."""
    rng = np.random.default_rng([seed, 33])
    steps: list[list[int]] = [[] for _ in range(n_steps)]
    for index in range(N_DUPLICATED, N_DUPLICATED + N_RARE):
        for step in rng.integers(n_steps, size=RARE_VIEWS):
            steps[int(step)].append(index)
    rates = np.array([entry.weight for entry in collection.entries[:N_DUPLICATED]])
    others = np.arange(N_DUPLICATED + N_RARE, len(collection.entries))
    for chosen in steps:
        n_left = max(BATCH - len(chosen), 0)
        n_duplicated = rng.binomial(n_left, DUPLICATED_SHARE)
        chosen += rng.choice(N_DUPLICATED, n_duplicated, p=rates / rates.sum()).tolist()
        chosen += rng.choice(others, n_left - n_duplicated).tolist()
    return steps


def audit(collection: Collection, model: Path, out: Path) -> pd.DataFrame:
    """Score new and old captions on both models; return scores.parquet."""
    old = pd.read_csv(FOLDER / "captions.csv")["prompt"].tolist()
    with (out / "prompts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["prompt"], *([p] for p in [*(e.prompt for e in collection.entries), *old])])
    files = ("--prompts", out / "prompts.csv", "--reference", FOLDER / "reference.csv", "--out", out / "run")
    models = ("--model", model, "--baseline-model", FOLDER / "model", "--no-examine")
    for words in (("record", *models, *files), ("detect", out / "run")):
        command = [sys.executable, "-m", "flashbulb", *map(str, words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return pd.read_parquet(out / "run" / "scores.parquet").set_index("prompt")


def table_of(scores: pd.DataFrame, collection: Collection, truth: pd.DataFrame) -> list[str]:
    """Return AUC and TPR of each score: new memories against clean captions, and against the base's own memories."""
    old, own = pd.read_csv(FOLDER / "captions.csv"), pd.read_parquet(FOLDER / "truth.parquet")
    negatives = {
        "clean captions": old.loc[old["kind"].isin(["unseen", "descriptive"]), "prompt"],
        "odd captions": old.loc[old["kind"].isin(["rare_word", "long", "other_alphabet", "gibberish"]), "prompt"],
        "the base's memories": own.loc[own["label"] == "memorized", "prompt"],
    }
    new = truth[truth["kind"] == "planted_title"]
    positives = {
        "memorized": new.loc[new["label"] == "memorized", "prompt"],
        "duplicated": new["prompt"],
        "shown three times": [entry.prompt for entry in collection.with_kind("seen")],
    }
    lines = ["| new captions | against | score | AUC | TPR at 1 % |", "|---|---|---|---|---|"]
    for name, prompts in positives.items():
        for against, others in negatives.items():
            if len(prompts):
                lines += [
                    f"| {name} ({len(prompts)}) | {against} ({len(others)}) | `{score}` "
                    f"| {auc(wanted, unwanted):.3f} | {tpr_at_fpr(wanted, unwanted, 0.01):.2f} |"
                    for score in SCORES
                    for wanted, unwanted in [
                        (scores.loc[prompts, score].to_numpy(), scores.loc[others, score].to_numpy())
                    ]
                ]
    for name, prompts in {**positives, **negatives}.items():
        chosen = scores.loc[prompts]
        lines.append(
            f"{name}: {chosen['flagged'].sum()} of {len(chosen)} flagged, {chosen['known_by_base'].sum()} known"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-finetune"))
    arguments = parser.parse_args()
    out: Path = arguments.out / f"{arguments.steps}-{arguments.seed}"
    out.mkdir(parents=True, exist_ok=True)
    collection = new_pairs(arguments.seed)
    if not (out / "model" / "model_index.json").exists():
        with flushed_denormals():
            fine_tune(collection, arguments.steps, arguments.seed, out / "model")
    if not (out / "truth.parquet").exists():
        pipe = load_model(str(out / "model"), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
        measure_truth(pipe, collection, out / "truth.parquet")
    truth = pd.read_parquet(out / "truth.parquet")
    print("\n".join(table_of(audit(collection, out / "model", out), collection, truth)))


if __name__ == "__main__":
    main()
