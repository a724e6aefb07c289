"""Ascents of the text encoder alone: many starts of a search that cost few UE (Flashbulb's own method).

The values of the cross-attention (`to_v`) depend on the prompt alone, so an ascent of the variance of their z-scores
needs no denoiser. A glance at where it ends costs four UE: the denoiser predicts the image from noise, and from that
image with the same noise added less strongly, three times more. That shows more memories than sampling in eight steps
does. Most of what is seen is a blend of memories; those that the model denoises much better than their mirror image
(`familiarity`) are not, on models that memorize strongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from flashbulb.audit.statistics.baseline import fit_baseline
from flashbulb.hooks import Site, UnknownArchitecture, observe
from flashbulb.hooks.recorder import require_finite

GLANCE_AT = (0.9, 0.7, 0.5, 0.3)
"""Shares of the noise schedule at which a glance denoises, chosen on `gazette` (docs/discovery-tried.md)."""


@dataclass(frozen=True, slots=True)
class TextPlan:
    """How many starts of a round climb without the denoiser, and how.

    Args:
        n_per_start: such starts for each that climbs with it.
        n_kept: glances of a round that are kept for closing looks.
        climb: as the other starts climb.
        rank: how the familiarity of what is seen is measured.
    """

    n_per_start: int
    n_kept: int
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
    """Ascents of the variance of z of a model's `to_v` neurons.

    Args:
        reference: neutral prompts that the baseline is fitted on.
    """

    def __init__(self, denoiser: Denoiser, reference: Sequence[str], plan: TextPlan) -> None:
        self._denoiser, self._plan = denoiser, plan
        self._sites = value_sites(denoiser)
        self._modules = denoiser.modules(self._sites)
        size = plan.climb.batch_size
        with torch.no_grad():
            parts = [
                self._activations(denoiser.encode(reference[first : first + size]).conditioning).cpu()
                for first in range(0, len(reference), size)
            ]
        activations = torch.cat(parts)
        require_finite("activations of neutral prompts", activations)
        baseline = fit_baseline(activations.numpy(), 0)
        self._location = torch.tensor(baseline.location, device=denoiser.device)
        self._scale = torch.tensor(baseline.scale, device=denoiser.device)

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
            return ((self._activations(conditioning) - self._location) / self._scale).var(dim=1)

        climbed = climb(self._denoiser, self._denoiser.encode(prompts), variance, plan.climb, generators)
        images = denoised_at(self._denoiser, climbed.conditioning, generators, GLANCE_AT)
        return Glances(images, familiarity(self._denoiser, images, plan.rank))

    def _activations(self, conditioning: Conditioning) -> Tensor:
        """Return the mean magnitude of each neuron over the tokens: [prompt, neuron], float32."""
        read: list[Tensor] = []

        def keep(_site: Site, activation: Tensor) -> None:
            read.append(activation.float().abs().mean(dim=1))

        with observe(self._modules, self._sites, keep):
            self._denoiser.run_prompt_sites(self._sites, conditioning.to(self._denoiser.device, self._denoiser.dtype))
        return torch.cat(read, dim=1)


def value_sites(denoiser: Denoiser) -> list[Site]:
    """Return the cross-attention's values, if the model has any that depend on the prompt alone."""
    with suppress(UnknownArchitecture):
        return [site for site in denoiser.sites(["cross_v"]) if site.is_prompt_site]
    return []


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
