"""Recovery from an ablated model: whether the memory is gone, or only this way to it (Finding Dori, 2507.16880).

They pruned the neurons that localization names, and fifty steps on the prompt's embedding brought the pictures back.
The same test is made here: Adam moves the embedding until the ablated model denoises the picture, then it is sampled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.denoiser import Denoiser
from audit.evidence import Picture
from audit.localize.effects import SamplingPlan, n_replicating
from audit.recover.known_image import KnownImagePlan, pull_out
from audit.sampling import sample_embeds, sample_generator
from hooks import By, NeuronSet, ablate
from hooks.response import split_guidance


class GuidedDenoiser(Denoiser):
    """A denoiser that evaluates the empty prompt beside each prompt, which doubles the UE, and gives the prompt's."""

    def __init__(self, pipe: object) -> None:
        super().__init__(pipe)
        self._empty = self.embed(self.tokenize([""]))  # [1, position, width]

    def predict_noise(self, latents: Tensor, timestep: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        both = torch.cat([self._empty.expand(len(latents), -1, -1), prompt_embeds])
        timesteps = timestep.repeat(2) if isinstance(timestep, Tensor) else timestep
        noise = super().predict_noise(torch.cat([latents, latents]), timesteps, both)
        return split_guidance(noise, is_guided=True).conditional


def recovered_again(
    denoiser: Denoiser,
    prompt: str,
    memory: Picture,
    neurons: NeuronSet,
    by: By,
    pull: KnownImagePlan,
    plan: SamplingPlan,
) -> int:
    """Samples that replicate the memory once it was pulled at in the ablated model, which stays ablated."""
    guided = GuidedDenoiser(denoiser.pipe)
    with ablate(denoiser.pipe, neurons, by, is_guided=True):
        start = guided.embed(guided.tokenize([prompt]))
        embeds = pull_out(guided, memory[None], start, prompt, pull)
    denoiser.evaluations += evaluations_again(pull, plan)
    with ablate(denoiser.pipe, neurons, by):
        pictures = sample_embeds(
            denoiser.pipe,
            embeds.expand(plan.n_samples, -1, -1),
            [sample_generator(plan.run_seed, f"again\n{prompt}", i) for i in range(plan.n_samples)],
            num_inference_steps=plan.num_inference_steps,
            guidance_scale=plan.guidance_scale,
            batch_size=plan.n_samples,
        )
    return n_replicating(pictures, memory)


def evaluations_again(pull: KnownImagePlan, plan: SamplingPlan) -> int:
    """UE of `recovered_again`: the pull is forward and backward through both halves."""
    return 2 * pull.evaluations + plan.evaluations
