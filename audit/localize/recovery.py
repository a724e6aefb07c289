"""Recovery from an ablated model, after Finding Dori (arXiv 2507.16880): is the memory gone, or one way to it closed?

The authors pruned the localized neurons; fifty steps on the prompt's embedding brought the images back. The same test
runs here: Adam moves the embedding until the ablated model denoises the image, then the embedding is sampled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.localize.effects import EffectPlan, count_replicating
from flashbulb.audit.model.sampling import sample_embeds, sample_generator
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.strategies.known_image import KnownImagePlan, pull_out
from flashbulb.hooks import By, NeuronSet, ablate
from flashbulb.hooks.response import split_guidance


class GuidedDenoiser(Denoiser):
    """A denoiser that evaluates the empty prompt beside each prompt and returns the prompt's noise, at twice the UE."""

    def __init__(self, pipe: object) -> None:
        super().__init__(pipe)
        self._empty = self.embed(self.tokenize([""]))  # [1, position, width]

    def predict_noise(self, latents: Tensor, timestep: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        both = torch.cat([self._empty.expand(len(latents), -1, -1), prompt_embeds])
        timesteps = timestep.repeat(2) if isinstance(timestep, Tensor) else timestep
        noise = super().predict_noise(torch.cat([latents, latents]), timesteps, both)
        return split_guidance(noise, is_guided=True).conditional


def count_recovered_again(
    denoiser: Denoiser,
    prompt: str,
    memory: RgbImage,
    neurons: NeuronSet,
    by: By,
    recovery: KnownImagePlan,
    sampling: EffectPlan,
) -> int:
    """Optimise the prompt's embedding towards the memory, and count the samples that replicate it.

    The model is ablated throughout.
    """
    guided = GuidedDenoiser(denoiser.pipe)
    with ablate(denoiser.pipe, neurons, by, is_guided=True):
        start = guided.embed(guided.tokenize([prompt]))
        embeds = pull_out(guided, memory[None], start, prompt, recovery)
    denoiser.evaluations += recovery_evaluations(recovery, sampling)
    with ablate(denoiser.pipe, neurons, by):
        images = sample_embeds(
            denoiser.pipe,
            embeds.expand(sampling.n_samples, -1, -1),
            [sample_generator(sampling.run_seed, f"again\n{prompt}", i) for i in range(sampling.n_samples)],
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            batch_size=sampling.n_samples,
        )
    return count_replicating(images, memory)


def recovery_evaluations(recovery: KnownImagePlan, sampling: EffectPlan) -> int:
    """Return the UE of `count_recovered_again`; forward and backward passes run through both halves of a batch."""
    return 2 * recovery.evaluations + sampling.evaluations
