"""The second rung: ascent on the neurons that spiked for the prompt, through the text encoder (Engram's own method).

The objective is the mean z-score of exactly those neurons, each in the direction in which it spiked. The first
restart may move every token a little; later ones may move a few words far, or words put in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from audit.denoiser import Denoiser
from audit.recover.climb import Climbed, ClimbPlan, climb
from audit.recover.free_words import choose_start, free_positions
from audit.recover.neurons import ChosenNeurons, NeuronScores
from audit.sampling import sample_generator

N_KINSHIP = 4
"""Latents over which z-scores are averaged to tell kinship."""


@dataclass(frozen=True, slots=True)
class AscendPlan:
    """How the ascents of a prompt are made.

    Args:
        n_restarts: at most; the ladder stops at the first that is verified.
        n_free: words that may move in restarts after the first.
        far: learning rate and radius of those, in the units of `ClimbPlan`; the first uses those of `climb`.
    """

    run_seed: int
    n_restarts: int
    n_free: int
    far: tuple[float, float]
    climb: ClimbPlan

    def climb_of(self, restart: int) -> ClimbPlan:
        """How this restart climbs."""
        if restart == 0:
            return self.climb
        learning_rate, radius = self.far
        return replace(self.climb, learning_rate=learning_rate, radius=radius)


@dataclass(frozen=True, slots=True)
class Target:
    """A caption and the neurons that spiked for it: indices into the z-scores and the signs of their z."""

    caption: str
    neurons: tuple[int, ...]
    signs: tuple[float, ...]


def ascend(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], restart: int, plan: AscendPlan
) -> Climbed:
    """One restart of every target, which do not influence one another; targets have equally many neurons."""
    generators = [sample_generator(plan.run_seed, f"ascend\n{target.caption}", restart) for target in targets]
    starts = [
        choose_start(denoiser, target.caption, restart, plan.n_free, generator)
        for target, generator in zip(targets, generators, strict=True)
    ]
    tokens = denoiser.tokenize([start.text for start in starts])
    device = denoiser.device
    objective = ChosenNeurons(
        scores,
        torch.tensor([target.neurons for target in targets], device=device),
        torch.tensor([target.signs for target in targets], device=device),
    )
    free = free_positions(denoiser, tokens, starts)
    return climb(denoiser, tokens, objective, plan.climb_of(restart), generators, free)


def kinship(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], reached: Tensor, plan: AscendPlan
) -> list[float]:
    """Whether what was reached is the prompt's own: cosine of z-scores over the neurons that were not climbed.

    An ascent can leave a caption for the memory of another; the neurons that it did not climb then no longer look
    like the caption's. Costs `N_KINSHIP` UE for the caption and as many for what was reached.

    Args:
        reached: prompt_embeds, [target, position, width].
    """
    generator = sample_generator(plan.run_seed, "kinship", 0)
    latents = denoiser.noise([generator] * N_KINSHIP)
    own = denoiser.embed(denoiser.tokenize([target.caption for target in targets]))
    cosines: list[float] = []
    for first in range(0, len(targets), plan.climb.batch_size):
        rows = slice(first, first + plan.climb.batch_size)
        before = scores.mean_over_noise(own[rows], latents)
        after = scores.mean_over_noise(reached[rows].to(own), latents)
        climbed = torch.tensor([target.neurons for target in targets[rows]], device=before.device)
        held_out = torch.ones_like(before).scatter(1, climbed, 0.0)
        cosines += torch.cosine_similarity(before * held_out, after * held_out, dim=1).tolist()
    return cosines
