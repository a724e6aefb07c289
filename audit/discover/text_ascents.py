"""Ascents of the text encoder alone: many starts of a search that cost few UE (Flashbulb's own method).

The values of the cross-attention (`to_v`) depend on the prompt alone, so an ascent of the variance of their z-scores
needs no denoiser. A glance at where it ends costs four UE: the denoiser predicts the image from noise, and from that
image with the same noise added less strongly, three times more. That shows more memories than sampling in eight steps
does. Most of what is seen is a blend of memories; those that the model denoises much better than their mirror image
(`familiarity`) are not, on models that memorize strongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.ascent.values import ValueScores
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from flashbulb.hooks.recorder import require_finite

STEPS, LEARNING_RATE = 4, 0.02
"""Few large steps: more of them lead more starts to the same images; chosen on `gazette` (docs/discovery-tried.md)."""

GLANCE_AT = (0.9, 0.7, 0.5, 0.3)
"""Shares of the noise schedule at which a glance denoises, chosen on `gazette` (docs/discovery-tried.md)."""


@dataclass(frozen=True, slots=True)
class TextPlan:
    """How many starts of a round climb without the denoiser, and how.

    Args:
        n_per_start: such starts for each that climbs with it.
        climb: of the variance.
        rank: how the familiarity of what is seen is measured.
    """

    n_per_start: int
    climb: ClimbPlan
    rank: RankPlan

    @property
    def evaluations(self) -> int:
        """UE of one start."""
        return len(GLANCE_AT) + self.rank.evaluations


class Glances(NamedTuple):
    """What text ascents show: images [start, height, width, 3] and the familiarity of each, [start]."""

    images: RgbImages
    familiarity: npt.NDArray[np.float64]


class TextAscents:
    """Ascents of the variance of z of a model's `to_v` neurons."""

    def __init__(self, denoiser: Denoiser, scores: ValueScores, plan: TextPlan) -> None:
        self._denoiser, self._scores, self._plan = denoiser, scores, plan

    def glance(self, prompts: Sequence[str], key: str, batch_size: int) -> Glances:
        """Climb from each prompt, and glance at where it ends; costs `TextPlan.evaluations` UE a prompt.

        Args:
            key: seed of the noise, together with the number of the prompt.
        """
        parts = [
            self._glance_batch(prompts[first : first + batch_size], key, first)
            for first in range(0, len(prompts), batch_size)
        ]
        return Glances(
            np.concatenate([part.images for part in parts]), np.concatenate([part.familiarity for part in parts])
        )

    def _glance_batch(self, prompts: Sequence[str], key: str, first: int) -> Glances:
        plan = self._plan
        generators = [sample_generator(plan.rank.run_seed, f"{key}\n{first + i}", 0) for i in range(len(prompts))]

        def variance(_noise: Tensor, conditioning: Conditioning, _rows: slice) -> Tensor:
            return self._scores(conditioning).var(dim=1)

        climbed = climb(self._denoiser, self._denoiser.encode(prompts), variance, plan.climb, generators)
        images = denoised_at(self._denoiser, climbed.conditioning, generators, GLANCE_AT)
        return Glances(images, familiarity(self._denoiser, images, plan.rank))


@torch.no_grad()
def denoised_at(
    denoiser: Denoiser, conditioning: Conditioning, generators: Sequence[torch.Generator], shares: Sequence[float]
) -> RgbImages:
    """Predict an image for each row of `conditioning` from noise alone, and again from it with less noise added.

    Args:
        generators: one CPU generator a row; its noise is the same at every step.
        shares: of the noise schedule, falling; one UE each.

    Returns:
        Images [row, height, width, 3].
    """
    noise, rows = denoiser.noise(generators), conditioning.to(denoiser.device, denoiser.dtype)
    latents = torch.zeros_like(noise)
    for share in shares:
        timestep = int(share * denoiser.n_timesteps)
        latents = denoiser.predict(denoiser.noised(latents, noise, timestep), timestep, rows).denoised.to(noise)
    require_finite("latents of glances", latents)
    return denoiser.decode_latents(latents)
