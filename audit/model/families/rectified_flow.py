"""What rectified-flow transformers have in common: what they predict, their time and their noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.prediction import Levels, PredictionType


class RectifiedFlow(Denoiser):
    """A transformer that predicts the velocity ε − x₀ at x_t = (1 − σ) · x₀ + σ · ε, where σ = t / 1000.

    Raises:
        ModelError: the scheduler is of another kind, or the transformer reads more than noised latents.
    """

    keywords: ClassVar[Mapping[str, str]] = {
        "prompt_embeds": "encoder_hidden_states",
        "pooled_prompt_embeds": "pooled_projections",
    }
    not_offered: ClassVar[tuple[str, ...]] = (
        "ascend",
        "ascend_shortened",
        "cyclic",
        "known_image",
        "extrapolate",
        "localize",
        "ablate",
        "discover",
        "pull",
    )

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        name = type(pipe.scheduler).__name__
        if not name.startswith("FlowMatch"):
            raise ModelError(f"{name} plans no flow; give the pipeline a FlowMatchEulerDiscreteScheduler")
        config = pipe.transformer.config
        n_returned = config.out_channels or config.in_channels
        if config.in_channels != n_returned:
            raise ModelError(
                f"this transformer takes {config.in_channels} channels and returns {n_returned}; "
                "inpainting and depth models are not text-to-image models"
            )
        super().__init__(pipe, clip_skip)

    @property
    def prediction_type(self) -> PredictionType:
        return PredictionType.FLOW

    def _levels(self, timestep: float | Tensor, like: Tensor) -> Levels:
        sigma = self._times(timestep, 1).to(like.device, like.dtype).reshape(-1, 1, 1, 1) / self.n_timesteps
        return Levels(1 - sigma, sigma)

    def _times(self, timestep: float | Tensor, n: int) -> Tensor:
        """Return the timestep of each of `n` latents, float32 [latent]; one each stays as it is."""
        times = torch.as_tensor(timestep, dtype=torch.float32, device=self.device)
        return times if times.ndim else times.expand(n)
