"""What detectors read from the model: a batch of prompts at x_T, or one prompt and its sampled images.

Each view holds what is already evaluated, and the model to evaluate more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.stable_diffusion import Denoiser


@dataclass(slots=True)
class NoiseSeeds:
    """x_T of every seed, [seed, channel, row, column], and the empty prompt's noise there, evaluated once per timestep.

    Args:
        batch_size: latents per UNet call.
    """

    denoiser: Denoiser
    latents: Tensor
    batch_size: int
    _unconditional: dict[int, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def unconditional(self, timestep: int) -> Tensor:
        """Return the noise predicted for the empty prompt at x_T and `timestep`: [seed, channel, row, column].

        Costs one UE per seed, the first time that a timestep is asked for.
        """
        if timestep not in self._unconditional:
            embeds = self.denoiser.embed(self.denoiser.tokenize([""]))
            chunks = [
                self.denoiser.predict_noise(chunk, timestep, embeds.expand(len(chunk), -1, -1))
                for chunk in torch.split(self.latents, self.batch_size)
            ]
            self._unconditional[timestep] = torch.cat(chunks)
        return self._unconditional[timestep]


@dataclass(frozen=True, slots=True)
class Step:
    """A batch of prompts, evaluated at x_T of every seed.

    Args:
        timestep: the scheduler's t of x_T.
        prompt_embeds: [prompt, position, width].
        classes: [prompt, position], see `flashbulb.hooks.TokenClass`.
        noise: noise predicted for the prompts at x_T: [prompt, seed, channel, row, column].
        attention: cross-attention probabilities during that evaluation, averaged over heads and pixels:
            [prompt, seed, position] by layer. Empty unless a chosen detector reads it.
    """

    seeds: NoiseSeeds
    timestep: int
    prompt_embeds: Tensor
    classes: Tensor
    noise: Tensor
    attention: Mapping[str, Tensor]

    @property
    def latents(self) -> Tensor:
        """x_T, repeated for every prompt: [prompt, seed, channel, row, column]."""
        return self.seeds.latents.expand(len(self.prompt_embeds), *self.seeds.latents.shape)

    @property
    def noise_uncond(self) -> Tensor:
        """Noise predicted for the empty prompt at x_T: [seed, channel, row, column]."""
        return self.seeds.unconditional(self.timestep)

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: int, *, conditional: bool) -> Tensor:
        """Predict the noise at other latents or another timestep, for the prompts or for the empty prompt.

        Costs one UE per prompt and seed. `latents` and the result are [prompt, seed, channel, row, column].
        """
        denoiser, n_seeds = self.seeds.denoiser, latents.shape[1]
        embeds = self.prompt_embeds
        if not conditional:
            embeds = denoiser.embed(denoiser.tokenize([""])).expand_as(embeds)
        flat, embeds = latents.flatten(0, 1), embeds.repeat_interleave(n_seeds, dim=0)  # [prompt × seed, …]
        chunks = (torch.split(tensor, self.seeds.batch_size) for tensor in (flat, embeds))
        noise = [denoiser.predict_noise(latent, timestep, embed) for latent, embed in zip(*chunks, strict=True)]
        return torch.cat(noise).reshape(latents.shape)


@dataclass(frozen=True, slots=True)
class SampledPrompt:
    """A prompt, its sampled images, and the model that sampled them.

    Args:
        images: uint8 [seed, height, width, 3].
        prompt_embeds: [1, position, width].
        classes: [1, position], see `flashbulb.hooks.TokenClass`.
        last_timestep: the scheduler's t of the last step of sampling.
        generator_seed: seed of the noise that a detector adds, for a reproducible score.
    """

    denoiser: Denoiser
    images: RgbImages
    prompt_embeds: Tensor
    classes: Tensor
    last_timestep: int
    generator_seed: int
