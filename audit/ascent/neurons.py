"""A prompt's z-scores as a differentiable function of what it is encoded to, and the objectives made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.detectors import Matrix
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.statistics.baseline import Z_CLIP, Baseline
from flashbulb.hooks import Site, observe, over_space, record
from flashbulb.hooks.recorder import require_finite


class NeuronScores:
    """z-scores of all neurons of `columns` at x_T, with gradients; tanh stands in for the clipping of recorded z.

    Args:
        timestep: the scheduler's t of x_T.
        baseline: fitted on activations of `columns`, neurons in the same order.
    """

    def __init__(self, denoiser: Denoiser, columns: Columns, timestep: float, baseline: Baseline) -> None:
        self._denoiser, self._columns, self._timestep = denoiser, columns, timestep
        self._sites = columns.sites
        self._modules = denoiser.modules(self._sites)
        device = denoiser.device
        self._location = torch.tensor(baseline.location, device=device)
        self._scale = torch.tensor(baseline.scale, device=device)
        self._components = torch.tensor(baseline.components, device=device)  # [component, neuron]

    @property
    def n_neurons(self) -> int:
        return len(self._location)

    def __call__(self, latents: Tensor, conditioning: Conditioning) -> Tensor:
        """Return z-scores [latent, neuron]; costs one UE a latent."""
        activation_of: dict[Site, Tensor] = {}
        with observe(self._modules, self._sites, activation_of.__setitem__):
            self._denoiser.predict(latents, self._timestep, conditioning)
        # reduced outside the hook: checkpointing recomputes the denoiser alone and refuses what a hook added to it
        read = {
            f"{site.name}/{reduction}": values
            for site, activation in activation_of.items()
            for reduction, values in over_space(activation).items()
        }
        activations = torch.cat([read[name] for name in self._columns.names], dim=1)  # [latent, neuron]
        z = Z_CLIP * torch.tanh((activations - self._location) / (self._scale * Z_CLIP))
        return z - (z @ self._components.T) @ self._components

    @torch.no_grad()
    def measured(self, latents: Tensor, conditioning: Conditioning) -> Tensor:
        """Return z-scores [latent, neuron] without gradients, to decide by.

        Raises:
            NonFiniteActivation: one is not finite.
        """
        z = self(latents, conditioning)
        require_finite("activations", z)
        return z

    def mean_over_noise(self, conditioning: Conditioning, latents: Tensor) -> Tensor:
        """Return the mean of z over noise [seed, channel, row, column], without gradients: [prompt, neuron]."""
        by_seed = [self.measured(noise.expand(len(conditioning), *noise.shape), conditioning) for noise in latents]
        return torch.stack(by_seed).mean(dim=0)


@dataclass(frozen=True, slots=True)
class ChosenNeurons:
    """Objective: mean z of each start's own neurons, each in the direction in which it spiked.

    Args:
        index: [start, neuron] into the z-scores.
        sign: [start, neuron], -1 for neurons below their baseline.
    """

    scores: NeuronScores
    index: Tensor
    sign: Tensor

    def __call__(self, latents: Tensor, conditioning: Conditioning, rows: slice) -> Tensor:
        z = self.scores(latents, conditioning)
        return (z.gather(1, self.index[rows]) * self.sign[rows]).mean(dim=1)


@dataclass(frozen=True, slots=True)
class HighestNeurons:
    """Objective: mean of the highest z among the neurons a start sees, after projecting out what was found.

    Args:
        seen: [start, neuron], 1 for neurons a start sees; different starts see different neurons and so diverge.
        found: orthonormal z directions of what was found already, [direction, neuron].
    """

    scores: NeuronScores
    n_highest: int
    seen: Tensor
    found: Tensor

    def __call__(self, latents: Tensor, conditioning: Conditioning, rows: slice) -> Tensor:
        z = self.scores(latents, conditioning)
        z = z - (z @ self.found.T) @ self.found
        return (z * self.seen[rows]).topk(self.n_highest, dim=1).values.mean(dim=1)


@torch.no_grad()
def activations_of(
    denoiser: Denoiser,
    columns: Columns,
    timestep: float,
    prompts: Sequence[str],
    generator: torch.Generator,
    batch_size: int,
) -> Matrix:
    """Return activations of `columns` at x_T, one noise a prompt: [prompt, neuron]; costs 1 UE a prompt."""
    sites = columns.sites
    modules = denoiser.modules(sites)
    rows = []
    for first in range(0, len(prompts), batch_size):
        batch = prompts[first : first + batch_size]
        latents = denoiser.noise([generator] * len(batch))
        evaluate = partial(denoiser.predict, latents, timestep, denoiser.encode(batch).conditioning)
        recorded = record(modules, sites, evaluate, over_space)
        rows.append(torch.cat([recorded[name] for name in columns.names], dim=1))
    return np.asarray(torch.cat(rows).cpu().numpy(), dtype=np.float32)
