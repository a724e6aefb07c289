"""Test levers: what replacing them does to a memory, to clean prompts, and what carrying them elsewhere does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from audit.ablated_samples import text_conditional_noise
from audit.denoiser import Denoiser
from audit.evidence import REPLICATION_DISTANCE, Picture, Pictures, seed_diversity, tile_distances
from audit.recover.sample import SamplePlan
from audit.sampling import sample_pictures
from hooks import By, NeuronSet, Recording, ablate, capture, patch, record_neurons

ERASED_SHARE = 0.75
"""A memory is erased when this share of the samples no longer replicates its picture."""


@dataclass(frozen=True, slots=True)
class SamplingPlan(SamplePlan):
    """How an effect is sampled; guidance is above 1, so that there is an unconditional half.

    Args:
        first_index: of the samples' seeds; levers are chosen with others than those they are tested with.
    """

    first_index: int


@dataclass(frozen=True, slots=True)
class Sampled:
    """Pictures of one prompt, [seed, height, width, 3], and the norm of the text-conditional output at x_T."""

    pictures: Pictures
    response: float

    @property
    def diversity(self) -> float:
        """Median distance between two seeds' pictures."""
        return seed_diversity(self.pictures)


@dataclass(frozen=True, slots=True)
class Effect:
    """What ablating levers does to the memory that they were chosen for.

    Args:
        n_replicating: samples that replicate the picture, before and after.
        distance: to the picture, median over samples, before and after.
        diversity: median distance between two seeds' pictures, before and after.
        response: text-conditional noise at x_T after, as a share of before.
    """

    n_samples: int
    n_replicating: tuple[int, int]
    distance: tuple[float, float]
    diversity: tuple[float, float]
    response: float

    @property
    def is_erased(self) -> bool:
        """Whether what at least half of the samples showed before is gone; what did not show cannot be erased."""
        before, after = self.n_replicating
        return 2 * before >= self.n_samples and is_erased(after, self.n_samples)


@dataclass(frozen=True, slots=True)
class ControlEffect:
    """What the same ablation does to a clean prompt.

    Args:
        change: mean distance of its pictures to those without ablation, seed by seed.
        diversity: median distance between two seeds' pictures without ablation.
    """

    prompt: str
    change: float
    diversity: float

    @property
    def is_changed(self) -> bool:
        """Whether the ablation changes a picture more than another seed does."""
        return self.change > self.diversity


def is_erased(n_replicating: int, n_samples: int) -> bool:
    """Whether few enough samples still replicate a memorized picture."""
    return 1 - n_replicating / n_samples >= ERASED_SHARE


def n_replicating(pictures: Pictures, memory: Picture) -> int:
    """Pictures [seed, height, width, 3] within the replication distance of the memorized one."""
    return int((tile_distances(pictures, memory) <= REPLICATION_DISTANCE).sum())


def sample_edited(
    denoiser: Denoiser, prompt: str, plan: SamplingPlan, edit: AbstractContextManager[object] | None = None
) -> Sampled:
    """Sample a prompt inside `edit`, a context such as `hooks.ablate`."""
    unet = denoiser.pipe.unet
    indices = range(plan.first_index, plan.first_index + plan.n_samples)
    with edit or nullcontext(), capture({"unet": unet.conv_out}) as outputs:
        pictures = sample_pictures(
            denoiser.pipe,
            [prompt] * plan.n_samples,
            indices,
            run_seed=plan.run_seed,
            num_inference_steps=plan.num_inference_steps,
            guidance_scale=plan.guidance_scale,
        )
    denoiser.evaluations += plan.evaluations
    return Sampled(pictures, fmean(text_conditional_noise(outputs["unet"][0])))


def sample_recorded(
    denoiser: Denoiser, prompt: str, plan: SamplingPlan, neurons: NeuronSet
) -> tuple[Sampled, Recording]:
    """Sample a prompt as it is, and record what `neurons` do at every step."""
    with record_neurons(denoiser.pipe, neurons) as recording:
        sampled = sample_edited(denoiser, prompt, plan)
    return sampled, recording


def effect_on_memory(memory: Picture, before: Sampled, after: Sampled) -> Effect:
    """Compare samples of the memorized prompt before and after an ablation."""
    both = (before, after)
    distances = [tile_distances(sampled.pictures, memory) for sampled in both]
    return Effect(
        n_samples=len(before.pictures),
        n_replicating=(n_replicating(before.pictures, memory), n_replicating(after.pictures, memory)),
        distance=(float(np.median(distances[0])), float(np.median(distances[1]))),
        diversity=(before.diversity, after.diversity),
        response=after.response / max(before.response, torch.finfo(torch.float32).tiny),
    )


def effects_on_controls(
    denoiser: Denoiser, controls: Sequence[tuple[str, Sampled]], neurons: NeuronSet, by: By, plan: SamplingPlan
) -> list[ControlEffect]:
    """Ablate in clean prompts, each given with its samples without ablation."""
    effects = []
    for prompt, before in controls:
        after = sample_edited(denoiser, prompt, plan, ablate(denoiser.pipe, neurons, by))
        pairs = zip(after.pictures, before.pictures, strict=True)
        change = float(np.mean([tile_distances(a[None], b)[0] for a, b in pairs]))
        effects.append(ControlEffect(prompt, change, before.diversity))
    return effects


def n_patched(denoiser: Denoiser, prompt: str, recording: Recording, memory: Picture, plan: SamplingPlan) -> int:
    """Samples of a clean prompt that replicate the memory once its neurons' recorded activations are patched in."""
    return n_replicating(sample_edited(denoiser, prompt, plan, patch(denoiser.pipe, recording)).pictures, memory)
