"""What detectors read from the model: a batch of prompts at x_T, or one prompt and its sampled images.

Each view holds what is already evaluated, and the model to evaluate more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.prediction import Levels, Prediction


@dataclass(slots=True)
class NoiseSeeds:
    """x_T of every seed, [seed, channel, row, column], and the prediction for the empty prompt there.

    Args:
        batch_size: latents per call of the denoiser.
    """

    denoiser: Denoiser
    latents: Tensor
    batch_size: int
    _unconditional: dict[float, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def unconditional(self, timestep: float) -> Tensor:
        """Return what is predicted for the empty prompt at x_T and `timestep`: [seed, channel, row, column].

        Costs one UE per seed, the first time that a timestep is asked for.
        """
        if timestep not in self._unconditional:
            empty = self.denoiser.unconditional(len(self.latents))
            predictions = _predictions(self.denoiser, self.latents, timestep, empty, self.batch_size)
            self._unconditional[timestep] = torch.cat([prediction.native for prediction in predictions])
        return self._unconditional[timestep]


@dataclass(frozen=True, slots=True)
class Step:
    """A batch of prompts, evaluated at x_T of every seed.

    Predictions are native: what the model was trained to predict. At a timestep without signal, where the noise is
    x_T whatever the prompt, they still tell prompts apart.

    Args:
        timestep: the scheduler's t of x_T.
        native: prediction for the prompts at x_T: [prompt, seed, channel, row, column].
        pull: what each prompt adds to x_T, see `Prediction.pull`: [prompt, seed, channel, row, column].
        levels: of signal and noise at `timestep`.
        attention: cross-attention probabilities during that evaluation, averaged over heads and pixels:
            [prompt, seed, position] by layer, in the order in which they run. Only layers that a chosen detector reads.
    """

    seeds: NoiseSeeds
    timestep: float
    conditioning: Conditioning
    native: Tensor
    pull: Tensor
    levels: Levels
    attention: Mapping[str, Tensor]

    @property
    def latents(self) -> Tensor:
        """x_T, repeated for every prompt: [prompt, seed, channel, row, column]."""
        return self.seeds.latents.expand(len(self.conditioning), *self.seeds.latents.shape)

    @property
    def native_uncond(self) -> Tensor:
        """Prediction for the empty prompt at x_T: [seed, channel, row, column]."""
        return self.seeds.unconditional(self.timestep)

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: float, *, conditional: bool) -> Tensor:
        """Predict at other latents or another timestep, for the prompts or for the empty prompt.

        Costs one UE per prompt and seed. `latents` and the result are [prompt, seed, channel, row, column].
        """
        prompts = self.conditioning if conditional else self.seeds.denoiser.unconditional(len(self.conditioning))
        predictions = self._predict(latents, timestep, prompts)
        return torch.cat([prediction.native for prediction in predictions]).reshape(latents.shape)

    @torch.no_grad()
    def pull_at(self, timestep: float) -> Tensor:
        """Return what each prompt adds to x_T at another timestep: [prompt, seed, channel, row, column].

        Costs one UE per prompt and seed.
        """
        predictions = self._predict(self.latents, timestep, self.conditioning)
        return torch.cat([prediction.pull for prediction in predictions]).reshape(self.latents.shape)

    def _predict(self, latents: Tensor, timestep: float, prompts: Conditioning) -> list[Prediction]:
        flat, rows = latents.flatten(0, 1), prompts.repeat(latents.shape[1])  # [prompt × seed, …]
        return _predictions(self.seeds.denoiser, flat, timestep, rows, self.seeds.batch_size)


def _predictions(
    denoiser: Denoiser, latents: Tensor, timestep: float, conditioning: Conditioning, batch_size: int
) -> list[Prediction]:
    """Predict at latents [latent, channel, row, column], some at a time."""
    starts = range(0, len(latents), batch_size)
    rows = [slice(start, start + batch_size) for start in starts]
    return [denoiser.predict(latents[i], timestep, conditioning.rows(i)) for i in rows]


@dataclass(frozen=True, slots=True)
class SampledPrompt:
    """A prompt, its sampled images, and the model that sampled them.

    Args:
        images: uint8 [seed, height, width, 3].
        encoded: the prompt alone.
        last_timestep: the scheduler's t of the last step of sampling.
        generator_seed: seed of the noise that a detector adds, for a reproducible score.
    """

    denoiser: Denoiser
    images: RgbImages
    encoded: EncodedPrompts
    last_timestep: float
    generator_seed: int
