"""Outcomes of planted models whose truth is known, with their signs: what a verdict is fitted on and tested with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from flashbulb.audit.ascent.climb import climb
from flashbulb.audit.ascent.neurons import HighestNeurons, NeuronScores, activations_of
from flashbulb.audit.ascent.starts import random_prompts
from flashbulb.audit.images.distances import RgbImages, tile_distances
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.planted.paths import FOLDER
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.strategies.ascend import ascend_plan, ascents_of
from flashbulb.audit.recover.verify import Looked, Verifier
from flashbulb.audit.settings import AuditSettings, DiscoverSettings
from flashbulb.audit.stages.discover import search_plan
from flashbulb.audit.stages.recover import verify_plan
from flashbulb.audit.statistics.baseline import fit_baseline
from flashbulb.audit.statistics.scores import columns_of
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

SETTINGS = AuditSettings(model="", prompts="", reference=None, train_images=None, out=Path(), batch_size=64)
SEARCH = DiscoverSettings(model="", train_images=None, out=Path(), n_starts=48, text_starts=0)
"""A search by rounds that climb with the denoiser, and nothing else, unless said otherwise."""


class Truth:
    """The planted images of a model and which of them it memorized."""

    def __init__(self, folder: Path) -> None:
        truth = pd.read_parquet(folder / "truth.parquet")
        planted = truth[truth["kind"].str.startswith("planted")]
        self.captions = planted.reset_index(drop=True)
        files = {path.stem: path for path in (folder / "pictures").rglob("*.png")}
        self.names = list(dict.fromkeys(planted["picture"]))
        self.images = np.stack([np.asarray(Image.open(files[name]).convert("RGB")) for name in self.names])
        self.memorized = set(planted.loc[planted["label"] == "memorized", "picture"])
        self.partial = set(planted.loc[planted["label"] == "partial", "picture"])

    def shown(self, images: RgbImages) -> str | None:
        """The planted image that at least half of the samples replicate; None if there is none."""
        distances = np.stack([tile_distances(images, image) for image in self.images])  # [planted, sample]
        nearest, is_replica = distances.argmin(axis=0), distances.min(axis=0) <= REPLICATION_DISTANCE
        if is_replica.mean() < 0.5:
            return None
        return self.names[int(np.bincount(nearest[is_replica]).argmax())]

    def shows(self, images: RgbImages, name: str) -> bool:
        """Whether at least half of the samples replicate this very image."""
        distances = tile_distances(images, self.images[self.names.index(name)])
        return bool((distances <= REPLICATION_DISTANCE).mean() >= 0.5)


@dataclasses.dataclass
class Bench:
    """A planted model ready for recovery: its neurons scored against its own reference captions."""

    folder: Path
    denoiser: Denoiser
    truth: Truth
    columns: Columns
    scores: NeuronScores
    captions: pd.DataFrame

    @property
    def preset(self) -> str:
        """Name of the preset that the model was trained by."""
        return {FOLDER.name: "posters"}.get(self.folder.name, self.folder.name)


def open_bench(folder: Path, seed: int = 0) -> Bench:
    """Load a planted model and fit the baseline of its feed-forward neurons, one noise a reference caption."""
    pipe = load_model(str(folder / "model"), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
    denoiser = open_denoiser(pipe)
    columns = columns_of("feed_forward", denoiser.sites(["feed_forward"]))
    reference = pd.read_csv(folder / "reference.csv", keep_default_na=False)["prompt"].tolist()
    timestep = denoiser.first_timestep(50)
    activations = activations_of(denoiser, columns, timestep, reference, sample_generator(seed, "bench", 0), 64)
    scores = NeuronScores(denoiser, columns, timestep, fit_baseline(activations, 10))
    captions = pd.read_csv(folder / "captions.csv", keep_default_na=False)
    return Bench(folder, denoiser, Truth(folder), columns, scores, captions)


def targets_of(bench: Bench, captions: Sequence[str], n_neurons: int, seed: int = 0) -> list[Target]:
    """The neurons that spike most for each caption, as an audit finds them: mean of four seeds. 4 UE a caption."""
    latents = bench.denoiser.initial_latents(seed, range(4))
    targets = []
    for first in range(0, len(captions), 64):
        chunk = list(captions[first : first + 64])
        z = bench.scores.mean_over_noise(bench.denoiser.encode(chunk).conditioning, latents)
        index = z.abs().topk(n_neurons, dim=1).indices
        for caption, neurons, sign in zip(chunk, index.tolist(), z.gather(1, index).sign().tolist(), strict=True):
            targets.append(Target(caption, tuple(neurons), tuple(sign)))
    return targets


def sample_guided(
    bench: Bench, conditioning: Conditioning, keys: Sequence[str], n: int, steps: int, guidance: float
) -> RgbImages:
    """Guided samples of each row: [row, sample, height, width, 3]."""
    images = bench.denoiser.sample(
        conditioning.repeat(n),
        [sample_generator(0, f"bench\n{key}", i) for key in keys for i in range(n)],
        num_inference_steps=steps,
        guidance_scale=guidance,
        batch_size=64,
    )
    return images.reshape(len(keys), n, *images.shape[1:])


def caption_outcomes(folder: Path, n_clean: int = 160) -> pd.DataFrame:
    """Signs and truth of one model's plain samples: of every planted caption, and of clean ones."""
    bench = open_bench(folder)
    verifier = Verifier(bench.denoiser, verify_plan(SETTINGS))
    planted, clean = bench.truth.captions["prompt"].tolist(), _clean(bench, n_clean)
    frames = []
    for source, texts in (("planted caption", planted), ("clean caption", clean)):
        encoded = bench.denoiser.encode(texts).conditioning
        guided = sample_guided(bench, encoded, texts, 4, 20, 3.0)
        frames.append(_frame(bench, source, verifier.look_at_guided(encoded, texts, list(guided))))
    return pd.concat(frames, ignore_index=True)


def driven_outcomes(folder: Path, n_starts: int = 32, n_ascents: int = 24) -> pd.DataFrame:
    """Signs and truth of what one model was driven to: by blind starts, and by ascents from clean captions."""
    bench = open_bench(folder)
    denoiser, verifier = bench.denoiser, Verifier(bench.denoiser, verify_plan(SETTINGS))
    clean, frames = _clean(bench, n_ascents), []
    found = torch.zeros(0, bench.scores.n_neurons)
    for radius in (0.5, 1.0):
        generator = sample_generator(0, "bench starts", int(10 * radius))
        plan = search_plan(SEARCH)
        seen = (torch.rand(n_starts, bench.scores.n_neurons, generator=generator) < plan.seen_share).float()
        objective = HighestNeurons(bench.scores, plan.n_highest, seen, found)
        starts = denoiser.encode(random_prompts(denoiser, n_starts, generator))
        noise = [sample_generator(0, f"bench noise {radius}", i) for i in range(n_starts)]
        climbed = climb(denoiser, starts, objective, dataclasses.replace(plan.climb, radius=radius), noise)
        keys = [f"blind {radius} {i}" for i in range(n_starts)]
        frames.append(_frame(bench, f"blind, radius {radius}", verifier.look(climbed.conditioning, keys)))
    gentle = ascend_plan(dict(SETTINGS))
    bold = dataclasses.replace(gentle, climb=dataclasses.replace(gentle.climb, learning_rate=0.01, radius=0.5))
    targets = targets_of(bench, clean, SETTINGS.ascend_neurons)
    climbed = climb(denoiser, *ascents_of(denoiser, bench.scores, targets, clean, 0, bold))
    frames.append(_frame(bench, "ascent from clean", verifier.look(climbed.conditioning, clean)))
    return pd.concat(frames, ignore_index=True)


def _clean(bench: Bench, n: int) -> list[str]:
    """Clean captions, the same for each `n` as far as they go."""
    clean = bench.captions[~bench.captions["kind"].str.startswith("planted")]["prompt"].to_numpy()
    return [str(text) for text in np.random.default_rng(0).permutation(clean)[:n]]


def _frame(bench: Bench, source: str, looked: Sequence[Looked]) -> pd.DataFrame:
    rows = []
    for look in looked:
        signs = dataclasses.asdict(look.signs) if look.signs is not None else {}
        shown = bench.truth.shown(look.images)
        rows.append({"source": source, "is_memory": shown is not None, "looked": bool(signs), **signs})
    return pd.DataFrame(rows)
