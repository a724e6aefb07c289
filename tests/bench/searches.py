"""Searches for memorized images to hold the blind one against, all verified alike and counted in UE.

random prompts: sampled from the training distribution itself, planted captions apart. Wen's norm, and the variance of
z of `to_v` neurons (the public gradient experiment), as the objective of the same ascent. A discrete prompt search in
the manner of MemBench: words are replaced one at a time to raise Wen's norm; its masked language
model is replaced by the tokenizer's whole words, drawn evenly, since none can be downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import Objective, climb
from flashbulb.audit.ascent.starts import random_prompts, whole_words
from flashbulb.audit.ascent.values import ValueScores, value_sites
from flashbulb.audit.discover.search import Search
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.evaluations import BACKWARD_COST
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.planted.collection import WORLDS
from flashbulb.audit.planted.presets import PRESETS
from flashbulb.audit.recover.verify import Looked, Verifier
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.discover import run_discovery, search_plan, search_verify_plan
from flashbulb.reports.bounds.rates import rate_of, rate_text
from tests.bench.closing import samples_of
from tests.bench.outcomes import SEARCH, Bench

Curve = list[tuple[int, int]]
"""Points (UE, distinct memorized images)."""

N_STARTS = 48
_PROPOSALS, _SWEEPS, _TEMPERATURE = 8, 18, 0.02


class Tally:
    """Distinct memorized images that were shown, over the UE spent."""

    def __init__(self, bench: Bench, budget: int) -> None:
        self.bench, self.budget = bench, budget
        self.verifier = Verifier(bench.denoiser, search_verify_plan(SEARCH))
        self.names: set[str] = set()
        self.curve: Curve = []
        self.evaluations = 0

    def spend(self, n: int) -> None:
        self.evaluations += n

    def see(self, conditioning: Conditioning, keys: Sequence[str]) -> None:
        """Sample rows without guidance, as the blind search does, and count what they show."""
        image_cost = self.bench.denoiser.evaluations_per_image(SEARCH.sample_steps, guidance_scale=1.0)
        for images in self.verifier.sample(conditioning, keys):
            self.spend(SEARCH.n_samples * image_cost)
            self.add(self.bench.truth.shown(images), self.evaluations)

    def add(self, name: str | None, evaluations: int) -> None:
        if name in self.bench.truth.memorized and name not in self.names and evaluations <= self.budget:
            self.names.add(str(name))
            self.curve.append((evaluations, len(self.names)))

    @property
    def is_open(self) -> bool:
        return self.evaluations < self.budget


def ours(bench: Bench, budget: int) -> tuple[Tally, Search]:
    """The product's own search; what it reports is judged by the truth, not by its verdict."""
    tally = Tally(bench, budget)
    search = Search(bench.denoiser, bench.columns, tally.verifier, None, (), search_plan(SEARCH))
    state = search.begin()
    for new in search.rounds(state, budget):
        for discovery in new:
            tally.add(bench.truth.shown(discovery.images), discovery.evaluations)
        print(f"  {state.evaluations} UE, {len(state.discoveries)} reported, {len(tally.names)} memorized", flush=True)
    tally.evaluations = state.evaluations
    for verdict in ("confirmed", "likely"):
        images = [d.images for d in state.discoveries if d.outcome.verdict == verdict]
        n_right = sum(bench.truth.shown(samples) is not None for samples in images)
        print(f"  {verdict}: {rate_text(rate_of(n_right, len(images)))} right")
    return tally, search


def ours_with_looks(bench: Bench, budget: int) -> Tally:
    """`flashbulb discover` with its closing looks; what it lists is judged by the truth."""
    tally = Tally(bench, budget)
    with TemporaryDirectory() as folder:
        model, out = str(bench.folder / "model"), Path(folder) / "run"
        settings = DiscoverSettings(model=model, train_images=None, out=out, budget=budget)
        record = run_discovery(settings, force=False)
        for finding in sorted(record.findings, key=lambda finding: finding.evaluations):
            tally.add(bench.truth.shown(samples_of(settings.out, finding)), finding.evaluations)
    tally.evaluations = sum(record.evaluations.values())
    return tally


class _Watching(Verifier):
    """Counts what comes out of every start, whatever the verdict will be."""

    tally: Tally

    def look(
        self, conditioning: Conditioning, keys: Sequence[str], is_known: Callable[[RgbImages], bool] | None = None
    ) -> list[Looked]:
        looked = super().look(conditioning, keys, is_known)
        climbed = (1 + BACKWARD_COST) * SEARCH.steps
        for look in looked:
            self.tally.spend(climbed + look.evaluations)
            self.tally.add(self.tally.bench.truth.shown(look.images), self.tally.evaluations)
        return looked


def ours_before_the_verdict(bench: Bench, budget: int) -> Tally:
    """The product's own search; every start counts that shows a memorized image, as those of the others do."""
    tally = Tally(bench, budget)
    watching = _Watching(bench.denoiser, search_verify_plan(SEARCH))
    watching.tally = tally
    search = Search(bench.denoiser, bench.columns, watching, None, (), search_plan(SEARCH))
    tally.spend(SEARCH.n_reference)
    for _ in search.rounds(search.begin(), budget):
        print(f"  {tally.evaluations} UE, {len(tally.names)} memorized", flush=True)
    return tally


def search_random_prompts(bench: Bench, budget: int) -> Tally:
    """Captions of the training distribution, half of each style."""
    tally, preset = Tally(bench, budget), PRESETS[bench.preset]
    world, rng, number = WORLDS[preset.world], np.random.default_rng(0), 0
    planted = set(bench.truth.captions["prompt"])
    while tally.is_open:
        drawn = [world.title(rng) if i % 2 else world.described(rng).caption for i in range(N_STARTS)]
        captions = [caption for caption in drawn if caption not in planted]
        tally.see(bench.denoiser.encode(captions).conditioning, [f"random {number} {i}" for i in range(len(captions))])
        number += 1
    return tally


def _ascents(bench: Bench, budget: int, objective: Objective, without_gradient: int = 0) -> Tally:
    """The same ascent with another objective, which spends so many UE a step and start without a gradient."""
    tally, plan, number = Tally(bench, budget), search_plan(SEARCH), 0
    while tally.is_open:
        prompts = random_prompts(bench.denoiser, N_STARTS, sample_generator(1, "starts", number))
        noise = [sample_generator(1, f"noise {i}", number) for i in range(N_STARTS)]
        climbed = climb(bench.denoiser, bench.denoiser.encode(prompts), objective, plan.climb, noise)
        tally.spend((climbed.evaluations + without_gradient * plan.climb.n_steps) * N_STARTS)
        tally.see(climbed.conditioning, [f"ascent {number} {i}" for i in range(N_STARTS)])
        number += 1
    return tally


def wens_norm(bench: Bench, budget: int) -> Tally:
    """Wen's text-conditional noise as the objective of the ascent."""
    timestep, denoiser = bench.denoiser.first_timestep(50), bench.denoiser
    empty = denoiser.unconditional(1)

    def objective(latents: Tensor, conditioning: Conditioning, _rows: slice) -> Tensor:
        with torch.no_grad():
            plain = denoiser.predict(latents, timestep, empty.repeat(len(latents))).native
        denoiser.evaluations -= len(latents)  # counted apart: no gradient goes through it
        native = denoiser.predict(latents, timestep, conditioning).native
        return (native - plain).flatten(1).norm(dim=1)

    return _ascents(bench, budget, objective, without_gradient=1)


def variance_of_z(bench: Bench, budget: int) -> Tally:
    """The public experiment: variance over neurons of the z-scores of `to_v`, as the objective of the ascent."""
    denoiser = bench.denoiser
    prompts = random_prompts(denoiser, SEARCH.n_reference, sample_generator(1, "reference", 0))
    scores = ValueScores(denoiser, value_sites(denoiser), prompts, len(prompts))

    def objective(latents: Tensor, conditioning: Conditioning, _rows: slice) -> Tensor:
        denoiser.evaluations += len(latents)  # costs no evaluation; counted as if, which is what the others pay
        return scores(conditioning).var(dim=1)

    return _ascents(bench, budget, objective)


def discrete_search(bench: Bench, budget: int) -> Tally:
    """Chains of captions whose words are replaced one at a time; each is sampled at its end, and begun anew."""
    tally, denoiser = Tally(bench, budget), bench.denoiser
    timestep, words, number = denoiser.first_timestep(50), whole_words(denoiser.text.vocabulary()), 0
    empty = denoiser.unconditional(1)
    rng = np.random.default_rng(0)

    def score(captions: Sequence[str], generator: torch.Generator) -> Tensor:
        latents = denoiser.noise([generator]).expand(len(captions), *denoiser.latent_shape)
        with torch.no_grad():
            plain = denoiser.predict(latents[:1], timestep, empty).noise
            noise = denoiser.predict(latents, timestep, denoiser.encode(captions).conditioning).noise
        tally.spend(len(captions) + 1)
        return (noise - plain).flatten(1).square().mean(dim=1)

    while tally.is_open:
        chains = random_prompts(denoiser, N_STARTS // 4, sample_generator(2, "chains", number))
        for sweep in range(_SWEEPS):
            proposals = [[chain, *_replacements(chain, words, rng)] for chain in chains]
            scores = score([c for proposed in proposals for c in proposed], sample_generator(2, f"{number}", sweep))
            weights = torch.softmax(scores.reshape(len(chains), -1) / _TEMPERATURE, dim=1).numpy().astype(float)
            chosen = [int(rng.choice(len(w), p=w / w.sum())) for w in weights]
            chains = [proposed[i] for proposed, i in zip(proposals, chosen, strict=True)]
        tally.see(denoiser.encode(chains).conditioning, [f"chain {number} {i}" for i in range(len(chains))])
        number += 1
    return tally


def _replacements(caption: str, words: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """The caption with one word, at a place drawn once, replaced by each of a few."""
    parts = caption.split()
    place = int(rng.integers(len(parts)))
    for _ in range(_PROPOSALS - 1):
        yield " ".join([*parts[:place], words[int(rng.integers(len(words)))], *parts[place + 1 :]])


SEARCHES: dict[str, Callable[[Bench, int], Tally]] = {
    "ours, with closing looks": ours_with_looks,
    "ours, without closing looks": lambda bench, budget: ours(bench, budget)[0],
    "ours, before the verdict": ours_before_the_verdict,
    "random prompts": search_random_prompts,
    "Wen's norm": wens_norm,
    "variance of z": variance_of_z,
    "discrete search": discrete_search,
}
