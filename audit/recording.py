"""Record prompts into shards: prompt sites without the UNet, step sites from one step at x_T, seeds side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.denoiser import Denoiser, Tokens
from audit.detectors import StepDetector
from audit.progress import Advance, track
from audit.prompts import Prompt
from audit.step import NoiseSeeds, Step
from hooks import (
    SPACE_REDUCTIONS,
    TOKEN_REDUCTIONS,
    Site,
    check_finite,
    complete_shards,
    over_space,
    over_tokens,
    read_manifest,
    record,
    site_modules,
    write_shard,
)
from hooks.attention import cross_attention_layers, observe_attention

PROMPT_FOLDER, STEP_FOLDER = "prompt", "step"
NOISE = "noise_pred_norm"


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where one set's shards lie, and what recording it cost in UNet evaluations of one latent (UE).

    Evaluations of the empty prompt at x_T serve every set; they belong to the `Recorder` and are not counted here.
    """

    folder: Path
    n_shards: int
    n_truncated: int
    n_evaluations: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How prompts are recorded; everything here changes the result or its layout, and so belongs to the fingerprint."""

    run_seed: int
    n_seeds: int
    timestep: int
    batch_size: int  # latents in one UNet call
    shard_size: int  # prompts in one shard


class Recorder:
    """Record batches of prompts of one loaded model; the unconditional half is evaluated once per seed."""

    def __init__(
        self, denoiser: Denoiser, sites: Sequence[Site], detectors: Sequence[StepDetector], plan: Plan
    ) -> None:
        self.denoiser, self.detectors, self.plan = denoiser, tuple(detectors), plan
        self._prompt_sites = [site for site in sites if site.is_prompt_site]
        self._step_sites = [site for site in sites if not site.is_prompt_site]
        self._modules: Mapping[str, nn.Module] = site_modules(denoiser.pipe, sites)
        latents = denoiser.initial_latents(plan.run_seed, range(plan.n_seeds))
        self.seeds = NoiseSeeds(denoiser, latents, plan.batch_size)
        self.seeds.unconditional(plan.timestep)
        self.initial_evaluations = len(latents)
        """UE of the empty prompt at x_T, which serve every prompt."""

    @torch.no_grad()
    def record_prompt_sites(self, tokens: Tokens) -> tuple[dict[str, Tensor], Tensor]:
        """Token-class reductions of the prompt sites, [prompt, neuron] by column, and the prompt_embeds.

        Cross-attention keys and values depend on the prompt alone, so the projections are applied to the embeddings
        without running the UNet.
        """
        prompt_embeds = torch.empty(0)
        classes = tokens.classes.to(self.denoiser.device)

        def run() -> None:
            nonlocal prompt_embeds
            prompt_embeds = self.denoiser.embed(tokens)
            for site in self._prompt_sites:
                if site.kind != "text_mlp":
                    self._modules[site.name](prompt_embeds)

        def reduce(activation: Tensor) -> Mapping[str, Tensor]:
            return over_tokens(activation.reshape(*classes.shape, -1), classes)

        rows = record(self._modules, self._prompt_sites, run, reduce)
        return rows, prompt_embeds

    @torch.no_grad()
    def record_step_sites(self, prompt_embeds: Tensor, classes: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Space reductions of the step sites at x_T, and what each step detector measures there.

        Returns:
            [prompt × seed, neuron] by column, prompts outermost, and float64 [prompt × seed] by detector; under
            NOISE the norm of the noise prediction.
        """
        n_prompts, n_seeds = len(prompt_embeds), self.plan.n_seeds
        pairs = torch.cartesian_prod(torch.arange(n_prompts), torch.arange(n_seeds))  # [prompt × seed, 2]
        chunks = torch.split(pairs, self.plan.batch_size)
        noise: list[Tensor] = []

        def run() -> None:
            for chunk in chunks:
                prompt, seed = chunk.unbind(dim=1)
                latents = self.seeds.latents[seed]
                noise.append(self.denoiser.predict_noise(latents, self.plan.timestep, prompt_embeds[prompt]))

        with self._attention() as attention:
            rows = record(self._modules, self._step_sites, run, over_space, expected_firings=len(chunks))
        shape = (n_prompts, n_seeds)
        step = Step(
            seeds=self.seeds,
            timestep=self.plan.timestep,
            prompt_embeds=prompt_embeds,
            classes=classes,
            noise=torch.cat(noise).reshape(*shape, *self.seeds.latents.shape[1:]),
            attention={layer: torch.cat(means).reshape(*shape, -1) for layer, means in attention.items()},
        )
        measured = {detector.name: detector.measure(step) for detector in self.detectors}
        measured[NOISE] = step.noise.float().flatten(2).norm(dim=2)
        return rows, {name: values.double().cpu().flatten() for name, values in measured.items()}

    @contextmanager
    def _attention(self) -> Iterator[dict[str, list[Tensor]]]:
        """Collect attention averaged over heads and pixels, [latent, position] by layer, if a detector reads it."""
        means: dict[str, list[Tensor]] = {}
        if not any(detector.reads_attention for detector in self.detectors):
            yield means
            return

        def keep(layer: str, probabilities: Tensor) -> None:
            means.setdefault(layer, []).append(probabilities.mean(dim=(1, 2)))

        with observe_attention(cross_attention_layers(self.denoiser.pipe.unet), keep):
            yield means


def estimate_bytes(sites: Sequence[Site], n_seeds: int, n_prompts: int) -> int:
    """Bytes of float16 activations before compression: prompt sites a prompt, step sites a prompt and seed."""
    of_prompt = sum(site.n_neurons for site in sites if site.is_prompt_site) * len(TOKEN_REDUCTIONS)
    of_step = sum(site.n_neurons for site in sites if not site.is_prompt_site) * len(SPACE_REDUCTIONS)
    return 2 * n_prompts * (of_prompt + n_seeds * of_step)


def record_set(
    recorder: Recorder, prompts: Sequence[Prompt], folder: Path, manifest: Mapping[str, Any], stage: str
) -> Recorded:
    """Record `prompts` into `folder`, shard by shard; complete shards of the same fingerprint are kept.

    Raises:
        SiteDidNotFire, NonFiniteActivation: the recording cannot be trusted; nothing of the shard is written.
        FingerprintMismatch: the folder holds a recording of something else.
    """
    plan = recorder.plan
    prompt_folder, step_folder = folder / PROMPT_FOLDER, folder / STEP_FOLDER
    fingerprint = str(manifest["fingerprint"])
    done = complete_shards(prompt_folder, fingerprint).keys() & complete_shards(step_folder, fingerprint).keys()
    n_shards = math.ceil(len(prompts) / plan.shard_size)
    n_done = sum(len(prompts[i * plan.shard_size : (i + 1) * plan.shard_size]) for i in done if i < n_shards)
    with track(stage, len(prompts), "prompts", done=n_done) as advance:
        for index in sorted(set(range(n_shards)) - done):
            shard = prompts[index * plan.shard_size : (index + 1) * plan.shard_size]
            _record_shard(recorder, shard, index, folder, manifest, advance)
    manifests = [read_manifest(step_folder / f"part-{i:05d}.parquet") for i in range(n_shards)]
    n_truncated, n_evaluations = (
        sum(int(str(m.entries[entry])) for m in manifests) for entry in ("n_truncated", "n_evaluations")
    )
    return Recorded(folder, n_shards, n_truncated, n_evaluations)


def _record_shard(
    recorder: Recorder,
    shard: Sequence[Prompt],
    index: int,
    folder: Path,
    manifest: Mapping[str, Any],
    advance: Advance,
) -> None:
    plan = recorder.plan
    per_call = max(1, plan.batch_size // plan.n_seeds)
    spent = recorder.denoiser.evaluations
    prompt_rows, step_rows, measured, n_truncated = [], [], [], 0
    for start in range(0, len(shard), per_call):
        tokens = recorder.denoiser.tokenize([prompt.text for prompt in shard[start : start + per_call]])
        of_batch, prompt_embeds = recorder.record_prompt_sites(tokens)
        prompt_rows.append(of_batch)
        of_batch, of_detectors = recorder.record_step_sites(prompt_embeds, tokens.classes)
        step_rows.append(of_batch)
        measured.append(of_detectors)
        n_truncated += sum(tokens.truncated)
        advance(len(prompt_embeds))
    ids = [prompt.prompt_id for prompt in shard]
    scores = _join(measured)
    prompt_keys = {"prompt_id": ids}
    step_keys = {
        "prompt_id": np.repeat(ids, plan.n_seeds).tolist(),
        "seed_index": list(range(plan.n_seeds)) * len(ids),
        "timestep": [plan.timestep] * (len(ids) * plan.n_seeds),
        **{name: values.tolist() for name, values in scores.items()},
    }
    of_prompts, of_steps = _join(prompt_rows), _join(step_rows)
    check_finite(of_prompts, prompt_keys)
    check_finite({**of_steps, f"{NOISE}/mean": scores[NOISE][:, None]}, step_keys)
    spent = recorder.denoiser.evaluations - spent
    entries = {**manifest, "n_truncated": n_truncated, "n_evaluations": spent}
    write_shard(folder / PROMPT_FOLDER, index, prompt_keys, of_prompts, entries)
    write_shard(folder / STEP_FOLDER, index, step_keys, of_steps, entries)


def _join(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Put the rows of several batches below one another, column by column."""
    return {column: torch.cat([batch[column] for batch in rows]) for column in rows[0]}
