"""The z-scores of a prompt's neurons as a differentiable function, and objectives made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from audit.baseline import Z_CLIP, Baseline, Matrix
from audit.denoiser import Denoiser, Tokens
from audit.shards import Column
from hooks import Site, observe, over_space, record, site_modules


class NeuronScores:
    """z-scores of all neurons of `columns` at x_T, with gradients; soft where a recorded z is clipped.

    Args:
        timestep: the scheduler's t of x_T.
        baseline: one row of neurons in the order of `columns`, as fitted by `audit.baseline`.
    """

    def __init__(self, denoiser: Denoiser, columns: Sequence[Column], timestep: int, baseline: Baseline) -> None:
        self._denoiser, self._columns, self._timestep = denoiser, tuple(columns), timestep
        sites: dict[str, Site] = {column.site.name: column.site for column in columns}
        self._sites = tuple(sites.values())
        self._modules = site_modules(denoiser.pipe, self._sites)
        device = denoiser.device
        self._location = torch.tensor(baseline.location, device=device)
        self._scale = torch.tensor(baseline.scale, device=device)
        self._components = torch.tensor(baseline.components, device=device)  # [component, neuron]

    @property
    def n_neurons(self) -> int:
        return len(self._location)

    def __call__(self, latents: Tensor, prompt_embeds: Tensor) -> Tensor:
        """z-scores [latent, neuron] at one UE a latent."""
        activation_of: dict[Site, Tensor] = {}
        with observe(self._modules, self._sites, activation_of.__setitem__):
            self._denoiser.predict_noise(latents, self._timestep, prompt_embeds)
        # reduced out here: checkpointing recomputes the UNet alone, and refuses what a hook added to it
        read = {
            f"{site.name}/{reduction}": values
            for site, activation in activation_of.items()
            for reduction, values in over_space(activation).items()
        }
        activations = torch.cat([read[column.name] for column in self._columns], dim=1)  # [latent, neuron]
        z = Z_CLIP * torch.tanh((activations - self._location) / (self._scale * Z_CLIP))
        return z - (z @ self._components.T) @ self._components

    def mean_over_noise(self, prompt_embeds: Tensor, latents: Tensor) -> Tensor:
        """Mean of z over noise [seed, channel, row, column], without gradients: [prompt, neuron]."""
        with torch.no_grad():
            of_seeds = [self(noise.expand(len(prompt_embeds), *noise.shape), prompt_embeds) for noise in latents]
        return torch.stack(of_seeds).mean(dim=0)


@dataclass(frozen=True, slots=True)
class ChosenNeurons:
    """Objective: mean z of each start's own neurons, in the direction in which they spiked.

    Args:
        index: [start, neuron] into the z-scores.
        sign: [start, neuron], -1 for neurons that fell below their baseline.
    """

    scores: NeuronScores
    index: Tensor
    sign: Tensor

    def __call__(self, latents: Tensor, prompt_embeds: Tensor, rows: slice) -> Tensor:
        z = self.scores(latents, prompt_embeds)
        return (z.gather(1, self.index[rows]) * self.sign[rows]).mean(dim=1)


@dataclass(frozen=True, slots=True)
class HighestNeurons:
    """Objective: mean of the highest z among the neurons that a start may look at, found memories removed.

    Args:
        seen: [start, neuron], 1 where a start looks; different starts see different parts, so that they part ways.
        found: orthonormal directions of what was found already, [direction, neuron].
    """

    scores: NeuronScores
    n_highest: int
    seen: Tensor
    found: Tensor

    def __call__(self, latents: Tensor, prompt_embeds: Tensor, rows: slice) -> Tensor:
        z = self.scores(latents, prompt_embeds)
        z = z - (z @ self.found.T) @ self.found
        return (z * self.seen[rows]).topk(self.n_highest, dim=1).values.mean(dim=1)


@torch.no_grad()
def activations_of(
    denoiser: Denoiser,
    columns: Sequence[Column],
    timestep: int,
    tokens: Tokens,
    generator: torch.Generator,
    batch_size: int,
) -> Matrix:
    """Activations of `columns` at x_T, one noise a prompt: [prompt, neuron], at 1 UE a prompt."""
    sites = tuple({column.site.name: column.site for column in columns}.values())
    modules = site_modules(denoiser.pipe, sites)
    rows = []
    for first in range(0, len(tokens.input_ids), batch_size):
        of_batch = tokens.rows(slice(first, first + batch_size))
        latents = denoiser.noise([generator] * len(of_batch.input_ids))
        embeds = denoiser.embed(of_batch)
        evaluate = partial(denoiser.predict_noise, latents, timestep, embeds)
        recorded = record(modules, sites, evaluate, over_space)
        rows.append(torch.cat([recorded[column.name] for column in columns], dim=1))
    return np.asarray(torch.cat(rows).numpy(), dtype=np.float32)
