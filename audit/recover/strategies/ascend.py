"""Gradient ascent on the neurons that spiked for the prompt, through the text encoder (Flashbulb's own method).

The objective is the mean z-score of exactly those neurons, each in the direction in which it spiked. The first
restart may move every token a little; later ones may move a few words far, or words put in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.ascent.free_words import choose_start, free_positions
from flashbulb.audit.ascent.neurons import ChosenNeurons, NeuronScores
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.ladder import LadderPrompt, Target, attempt_from
from flashbulb.audit.recover.verify import Verifier

N_KINSHIP = 4
"""Latents over which z-scores are averaged for `kinship`."""


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
        """Return how this restart climbs."""
        if restart == 0:
            return self.climb
        learning_rate, radius = self.far
        return replace(self.climb, learning_rate=learning_rate, radius=radius)


@dataclass(frozen=True, slots=True)
class Ascend:
    """The strategy: climb each prompt's own spiking neurons, then verify what is reached."""

    denoiser: Denoiser
    scores: NeuronScores
    verifier: Verifier
    plan: AscendPlan
    name: ClassVar[str] = "ascend"
    is_plain: ClassVar[bool] = False

    @property
    def n_restarts(self) -> int:
        """Ascents of one prompt, at most."""
        return self.plan.n_restarts

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, restart: int) -> dict[str, object]:
        """Return the restart's plan, and how its images are verified."""
        climbing = asdict(self.plan.climb_of(restart))
        return {"run_seed": self.plan.run_seed, **climbing, **self.verifier.settings}

    def run(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Climb all prompts together and verify what each reached."""
        targets = [prompt.target for prompt in prompts]
        climbed = climb(self.denoiser, *ascents_of(self.denoiser, self.scores, targets, restart, self.plan))
        looked = self.verifier.look(climbed.prompt_embeds, [f"ascend {restart}\n{prompt.key}" for prompt in prompts])
        cosines = kinship(self.denoiser, self.scores, targets, climbed.prompt_embeds, self.plan)
        cost = climbed.evaluations + 2 * N_KINSHIP
        return [
            attempt_from(look, self.name, restart, cost, row, cosine)
            for look, row, cosine in zip(looked, climbed.prompt_embeds, cosines, strict=True)
        ]


class Ascents(NamedTuple):
    """What `climb` is given, in its order: one row a target."""

    tokens: Tokens
    objective: ChosenNeurons
    plan: ClimbPlan
    generators: list[torch.Generator]
    free: Tensor


def ascents_of(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], restart: int, plan: AscendPlan
) -> Ascents:
    """Prepare one restart of every target; all targets have equally many neurons."""
    generators = [sample_generator(plan.run_seed, f"ascend\n{target.prompt}", restart) for target in targets]
    starts = [
        choose_start(denoiser, target.prompt, restart, plan.n_free, generator)
        for target, generator in zip(targets, generators, strict=True)
    ]
    tokens = denoiser.tokenize([start.text for start in starts])
    objective = ChosenNeurons(
        scores,
        torch.tensor([target.neurons for target in targets], device=denoiser.device),
        torch.tensor([target.signs for target in targets], device=denoiser.device),
    )
    free = free_positions(denoiser, tokens, starts)
    return Ascents(tokens, objective, plan.climb_of(restart), generators, free)


def kinship(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], reached: Tensor, plan: AscendPlan
) -> list[float]:
    """Return the cosine of each prompt's z-scores to those of what was reached, over the neurons not climbed.

    An ascent can leave a prompt for another prompt's memory; the neurons that it did not climb then no longer look
    like the prompt's. Costs `N_KINSHIP` UE for the prompt and as many for what was reached.

    Args:
        reached: prompt_embeds, [target, position, width].
    """
    generator = sample_generator(plan.run_seed, "kinship", 0)
    latents = denoiser.noise([generator] * N_KINSHIP)
    own = denoiser.embed(denoiser.tokenize([target.prompt for target in targets]))
    cosines: list[float] = []
    for first in range(0, len(targets), plan.climb.batch_size):
        rows = slice(first, first + plan.climb.batch_size)
        before = scores.mean_over_noise(own[rows], latents)
        after = scores.mean_over_noise(reached[rows].to(own), latents)
        climbed = torch.tensor([target.neurons for target in targets[rows]], device=before.device)
        held_out = torch.ones_like(before).scatter(1, climbed, 0.0)
        cosines += torch.cosine_similarity(before * held_out, after * held_out, dim=1).tolist()
    return cosines
