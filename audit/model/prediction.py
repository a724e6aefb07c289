"""What a denoiser predicts, in the three forms that an audit reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from torch import Tensor

from flashbulb.hooks.recorder import require_finite


class PredictionType(StrEnum):
    """What a model was trained to predict; the values are those of diffusers' schedulers."""

    EPSILON = "epsilon"
    V_PREDICTION = "v_prediction"
    SAMPLE = "sample"
    FLOW = "flow_prediction"
    """The velocity ε − x₀ of a rectified flow."""


class Levels(NamedTuple):
    """Factors of noised latents x_t = signal · x₀ + noise · ε at a timestep, [latent or 1, 1, 1, 1] each.

    At least float32: near the last step of sampling, the noise level of bfloat16 is 0.
    """

    signal: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction at noised latents x_t.

    At a signal of 0 (the first step of zero-terminal-SNR schedules and of rectified flows) the noise is x_t, whatever
    the prompt. So what compares prompts compares `native`.

    Args:
        native: what the model was trained to predict, shaped like `latents`.
        latents: x_t, [latent, channel, row, column].
    """

    native: Tensor
    latents: Tensor
    levels: Levels
    prediction_type: PredictionType

    @property
    def noise(self) -> Tensor:
        """The noise ε, for losses against noise that was drawn."""
        match self.prediction_type:
            case PredictionType.EPSILON:
                return self.native
            case PredictionType.V_PREDICTION:
                return self.levels.signal * self.native + self.levels.noise * self.latents
            case PredictionType.SAMPLE:
                return (self.latents - self.levels.signal * self.native) / self.levels.noise
            case PredictionType.FLOW:
                return self.latents + self.levels.signal * self.native

    def losses(self, noise: Tensor) -> Tensor:
        """Return the mean squared error of the predicted noise, against the noise that was drawn: [latent]."""
        return (self.noise.float() - noise.float()).square().mean(dim=(1, 2, 3))

    @property
    def denoised(self) -> Tensor:
        """The denoised latents x₀, to look at."""
        match self.prediction_type:
            case PredictionType.EPSILON:
                return (self.latents - self.levels.noise * self.native) / self.levels.signal
            case PredictionType.V_PREDICTION:
                return self.levels.signal * self.latents - self.levels.noise * self.native
            case PredictionType.SAMPLE:
                return self.native
            case PredictionType.FLOW:
                return self.latents - self.levels.noise * self.native

    @property
    def pull(self) -> Tensor:
        """What the model sees in the latents: `native`, minus what it is for latents that are nothing but noise.

        Of a model that predicts noise it is ε − x_t, the difference of Hintersdorf et al. (arXiv 2406.02366).
        """
        native, latents = self.native.float(), self.latents.float()
        match self.prediction_type:
            case PredictionType.V_PREDICTION:
                return native - self.levels.signal * latents
            case PredictionType.SAMPLE:
                return native
            case _:
                return native - latents


def log_losses(losses: Tensor) -> Tensor:
    """Return the logarithm of losses, which weighs all noise levels alike; that of a loss of 0 is finite."""
    return losses.clamp_min(1e-12).log()


def finite_log_losses(losses: Tensor) -> Tensor:
    """Return `log_losses` of losses that decide on an image.

    Raises:
        NonFiniteActivation: one is not finite.
    """
    require_finite("denoising errors", losses)
    return log_losses(losses)
