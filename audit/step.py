"""One step at x_T of a batch of prompts, as step detectors see it: what was evaluated already, and the way to more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from audit.denoiser import Denoiser


@dataclass(slots=True)
class NoiseSeeds:
    """x_T of every seed, [seed, channel, row, column], and the unconditional noise there, evaluated once a timestep."""

    denoiser: Denoiser
    latents: Tensor
    batch_size: int
    _unconditional: dict[int, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def unconditional(self, timestep: int) -> Tensor:
        """Noise predicted for the empty prompt at x_T, as if it were the latents of `timestep`: like `latents`."""
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
    """One batch of prompts, evaluated with their prompt_embeds at x_T of every seed.

    Args:
        timestep: the scheduler's t of x_T.
        prompt_embeds: [prompt, position, width].
        classes: [prompt, position], see `hooks.TokenClass`.
        noise: predicted for the prompts at x_T: [prompt, seed, channel, row, column].
        attention: cross-attention probabilities during that evaluation, averaged over heads and pixels,
            [prompt, seed, position] by layer; empty unless a chosen detector reads it.
    """

    seeds: NoiseSeeds
    timestep: int
    prompt_embeds: Tensor
    classes: Tensor
    noise: Tensor
    attention: Mapping[str, Tensor]

    @property
    def latents(self) -> Tensor:
        """x_T, the same for every prompt: [prompt, seed, channel, row, column]."""
        return self.seeds.latents.expand(len(self.prompt_embeds), *self.seeds.latents.shape)

    @property
    def noise_uncond(self) -> Tensor:
        """Noise predicted for the empty prompt at x_T: [seed, channel, row, column]."""
        return self.seeds.unconditional(self.timestep)

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: int, *, conditional: bool) -> Tensor:
        """Noise predicted for other latents or another timestep, with the prompts or with the empty one.

        Costs one UE a prompt and seed; `latents` and the result are [prompt, seed, channel, row, column].
        """
        denoiser, n_seeds = self.seeds.denoiser, latents.shape[1]
        embeds = self.prompt_embeds
        if not conditional:
            embeds = denoiser.embed(denoiser.tokenize([""])).expand_as(embeds)
        flat, embeds = latents.flatten(0, 1), embeds.repeat_interleave(n_seeds, dim=0)  # [prompt × seed, …]
        size = self.seeds.batch_size
        noise = [
            denoiser.predict_noise(chunk, timestep, of_chunk)
            for chunk, of_chunk in zip(torch.split(flat, size), torch.split(embeds, size), strict=True)
        ]
        return torch.cat(noise).reshape(latents.shape)
