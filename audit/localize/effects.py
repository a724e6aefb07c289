"""Measure the effect of localized neurons: on their memory, on clean prompts, and when patched into a clean prompt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImage, RgbImages, seed_diversity, tile_distances
from flashbulb.audit.localize.ablated_samples import response_norms
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.hooks import By, NeuronSet, Recording
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

ERASED_SHARE = 0.75
"""A memory is erased if at least this share of the samples no longer replicates its image."""


@dataclass(frozen=True, slots=True)
class EffectPlan(SamplePlan):
    """How prompts are sampled to measure an effect; guidance is above 1, so every batch has an unconditional half.

    Args:
        first_index: image index of the first sample; neurons are selected and tested with different indices.
    """

    first_index: int


@dataclass(frozen=True, slots=True)
class Samples:
    """Images of one prompt [seed, height, width, 3], and their response norm at x_T, mean over seeds."""

    images: RgbImages
    response: float

    @property
    def diversity(self) -> float:
        """Median distance between the images of two seeds."""
        return seed_diversity(self.images)


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of ablating localized neurons on their memory.

    Args:
        n_replicating: samples that replicate the image, before and after.
        distance: distance to the image, median over samples, before and after.
        diversity: median distance between the images of two seeds, before and after.
        response: response norm at x_T after the ablation, as a share of that before.
    """

    n_samples: int
    n_replicating: tuple[int, int]
    distance: tuple[float, float]
    diversity: tuple[float, float]
    response: float

    @property
    def is_erased(self) -> bool:
        """True if at least half of the samples replicated the image before, and it is erased after."""
        before, after = self.n_replicating
        return 2 * before >= self.n_samples and is_erased(after, self.n_samples)


@dataclass(frozen=True, slots=True)
class ControlEffect:
    """The effect of the same ablation on a clean prompt.

    Args:
        change: mean distance between its images with and without ablation, seed by seed.
        diversity: median distance between the images of two seeds without ablation.
    """

    prompt: str
    change: float
    diversity: float

    @property
    def is_changed(self) -> bool:
        """True if the ablation changes an image more than another seed does."""
        return self.change > self.diversity


def is_erased(n_replicating: int, n_samples: int) -> bool:
    """Return whether at least `ERASED_SHARE` of the samples no longer replicates the memorized image."""
    return 1 - n_replicating / n_samples >= ERASED_SHARE


def count_replicating(images: RgbImages, memory: RgbImage) -> int:
    """Count the images [seed, height, width, 3] within the replication distance of the memorized image."""
    return int((tile_distances(images, memory) <= REPLICATION_DISTANCE).sum())


def sample_edited(
    denoiser: Denoiser, prompt: str, plan: EffectPlan, edit: AbstractContextManager[object] | None = None
) -> Samples:
    """Sample a prompt inside `edit`, a context such as `flashbulb.hooks.ablate`."""
    indices = range(plan.first_index, plan.first_index + plan.n_samples)
    with edit or nullcontext(), denoiser.observed_predictions() as predictions:
        images = denoiser.sample_prompts(
            [prompt] * plan.n_samples,
            indices,
            run_seed=plan.run_seed,
            num_inference_steps=plan.num_inference_steps,
            guidance_scale=plan.guidance_scale,
        )
    return Samples(images, fmean(response_norms(predictions[0], denoiser.guidance)))


def sample_and_record(
    denoiser: Denoiser, prompt: str, plan: EffectPlan, neurons: NeuronSet
) -> tuple[Samples, Recording]:
    """Sample a prompt without edits, and record the activations of `neurons` at every step."""
    with denoiser.recorded(neurons) as recording:
        samples = sample_edited(denoiser, prompt, plan)
    return samples, recording


def measure_effect(memory: RgbImage, before: Samples, after: Samples) -> Effect:
    """Compare samples of the memorized prompt before and after an ablation."""
    distances = [tile_distances(samples.images, memory) for samples in (before, after)]
    return Effect(
        n_samples=len(before.images),
        n_replicating=(count_replicating(before.images, memory), count_replicating(after.images, memory)),
        distance=(float(np.median(distances[0])), float(np.median(distances[1]))),
        diversity=(before.diversity, after.diversity),
        response=after.response / max(before.response, torch.finfo(torch.float32).tiny),
    )


def measure_control_effects(
    denoiser: Denoiser, controls: Sequence[tuple[str, Samples]], neurons: NeuronSet, by: By, plan: EffectPlan
) -> list[ControlEffect]:
    """Ablate `neurons` in clean prompts, each given with its samples without ablation."""
    effects = []
    for prompt, before in controls:
        after = sample_edited(denoiser, prompt, plan, denoiser.ablated(neurons, by))
        pairs = zip(after.images, before.images, strict=True)
        change = float(np.mean([tile_distances(image[None], original)[0] for image, original in pairs]))
        effects.append(ControlEffect(prompt, change, before.diversity))
    return effects


def count_patched(denoiser: Denoiser, prompt: str, recording: Recording, memory: RgbImage, plan: EffectPlan) -> int:
    """Count the samples of a clean prompt that replicate the memory after `recording` is patched in."""
    patched = sample_edited(denoiser, prompt, plan, denoiser.patched(recording))
    return count_replicating(patched.images, memory)
