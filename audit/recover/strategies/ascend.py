"""Gradient ascent on spiking neurons, from the prompt and through the text encoder (Flashbulb's own method).

The first restart climbs the mean z-score of exactly the neurons that spiked for the prompt, each in the direction in
which it spiked. Where a wrong word carries the prompt, these neurons mislead. Later restarts climb whichever neurons
are highest: first from the whole prompt, then without the word that hides most, without two, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from flashbulb.audit.recover.ladder import LadderPrompt, Target, Tools, attempt_from

if TYPE_CHECKING:
    import torch

    from flashbulb.audit.ascent.climb import ClimbPlan, Objective
    from flashbulb.audit.ascent.neurons import NeuronScores
    from flashbulb.audit.ascent.shorten import Shortened
    from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.verify import Verifier

N_HIGHEST = 20
"""No user sets it: experiments on the planted models settled it (docs/recovery-tried.md)."""

N_KINSHIP = 4
"""Latents over which z-scores are averaged for `kinship`."""


@dataclass(frozen=True, slots=True)
class AscendPlan:
    """How the ascents of a prompt are made.

    Args:
        n_restarts: at most; the ladder stops at the first that is verified.
        n_highest: neurons that restarts after the first climb.
        climb: how the first climbs; later ones make half as many steps, twice as large.
    """

    run_seed: int
    n_restarts: int
    n_highest: int
    climb: ClimbPlan

    def climb_of(self, restart: int) -> ClimbPlan:
        """Return how this restart climbs."""
        if restart == 0:
            return self.climb
        n_steps = math.ceil(self.climb.n_steps / 2)
        return replace(self.climb, n_steps=n_steps, learning_rate=2 * self.climb.learning_rate)

    @staticmethod
    def words_left_out(restart: int) -> int:
        """Return how many words of the prompt this restart climbs without."""
        return max(0, restart - 1)


def ascend_plan(values: Mapping[str, Any]) -> AscendPlan:
    """Return how an audit with these settings climbs prompts."""
    from flashbulb.audit.ascent.climb import ClimbPlan

    climb = ClimbPlan(
        n_steps=values["ascend_steps"],
        learning_rate=values["ascend_rate"],
        radius=values["ascend_radius"],
        variable=values["ascend_variable"],
        batch_size=values["batch_size"],
        checkpointing=values["checkpointing"],
    )
    return AscendPlan(values["seed"], values["ascend_restarts"], N_HIGHEST, climb)


@dataclass(frozen=True, slots=True)
class Ascend:
    """The strategy: climb each prompt's own spiking neurons, then verify what is reached."""

    denoiser: Denoiser
    scores: NeuronScores | None
    verifier: Verifier
    plan: AscendPlan
    name: ClassVar[str] = "ascend"
    place: ClassVar[int] = 10
    is_default: ClassVar[bool] = True
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = True
    identity: ClassVar[frozenset[str]] = frozenset(
        {
            *("seed", "num_inference_steps", "n_components"),
            *("ascend_steps", "ascend_rate", "ascend_radius", "ascend_neurons", "ascend_kind", "ascend_variable"),
        }
    )

    @staticmethod
    def missing(values: Mapping[str, Any]) -> str | None:
        """Return an error line where the neurons to climb are not recorded."""
        kind = values.get("ascend_kind")
        if kind in values.get("sites", ()):
            return None
        return f"--strategy ascend needs {kind} neurons; add --sites {kind}, or leave ascend out with --strategy sample"

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> Ascend:
        """Plan the ascents."""
        return cls(tools.denoiser, tools.scores, tools.verifier, ascend_plan(values))

    @property
    def worst_cost(self) -> int:
        """UE of every ascent of a prompt, its kinship and its verification."""
        from flashbulb.audit.ascent.shorten import MAX_TRIED
        from flashbulb.audit.model.evaluations import BACKWARD_COST

        restarts = range(self.n_restarts)
        steps = sum(self.plan.climb_of(restart).n_steps for restart in restarts)
        n_words = sum(self.plan.words_left_out(restart) for restart in restarts)
        each = 2 * N_KINSHIP + self.verifier.most_evaluations
        return (1 + BACKWARD_COST) * steps + MAX_TRIED * n_words + each * self.n_restarts

    @property
    def kept_images(self) -> int:
        """The verifier's samples, in the attempt, the best of them as an image, and the mask."""
        return self.verifier.plan.n_samples + 2

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
        n_words = self.plan.words_left_out(restart)
        return {"run_seed": self.plan.run_seed, "words_left_out": n_words, **climbing, **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Climb all prompts together and verify what each reached."""
        from flashbulb.audit.ascent.climb import climb

        assert self.scores is not None, "nothing is tried before neurons are scored"
        targets = [prompt.target for prompt in prompts]
        starts = starts_of(self.denoiser, self.scores, targets, restart, self.plan)
        texts = [start.text for start in starts]
        climbed = climb(self.denoiser, *ascents_of(self.denoiser, self.scores, targets, texts, restart, self.plan))
        looked = self.verifier.look(climbed.conditioning, [f"ascend {restart}\n{prompt.key}" for prompt in prompts])
        cosines = kinship(self.denoiser, self.scores, targets, climbed.conditioning, self.plan)
        cost = climbed.evaluations + 2 * N_KINSHIP
        return [
            attempt_from(look, self.name, restart, cost + start.evaluations, row, cosine)
            for look, start, row, cosine in zip(looked, starts, climbed.conditioning.each(), cosines, strict=True)
        ]


class Ascents(NamedTuple):
    """What `climb` is given, in its order: one row a target."""

    prompts: EncodedPrompts
    objective: Objective
    plan: ClimbPlan
    generators: list[torch.Generator]


def starts_of(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], restart: int, plan: AscendPlan
) -> list[Shortened]:
    """Return what a restart climbs from: each target's prompt, without the words that it leaves out."""
    from flashbulb.audit.ascent.shorten import leave_words_out

    prompts = [target.prompt for target in targets]
    generators = _generators(plan, "leave out", prompts, 0)
    n_words, batch_size = plan.words_left_out(restart), plan.climb.batch_size
    return leave_words_out(denoiser, scores, prompts, n_words, plan.n_highest, generators, batch_size)


def ascents_of(
    denoiser: Denoiser,
    scores: NeuronScores,
    targets: Sequence[Target],
    starts: Sequence[str],
    restart: int,
    plan: AscendPlan,
) -> Ascents:
    """Prepare one restart of every target, from its start; all targets have equally many neurons."""
    import torch

    from flashbulb.audit.ascent.neurons import ChosenNeurons, HighestNeurons

    objective: Objective
    if restart == 0:
        index = torch.tensor([target.neurons for target in targets], device=denoiser.device)
        objective = ChosenNeurons(scores, index, torch.tensor([t.signs for t in targets], device=denoiser.device))
    else:
        seen = torch.ones(len(targets), scores.n_neurons, device=denoiser.device)
        objective = HighestNeurons(scores, plan.n_highest, seen, seen[:0])
    generators = _generators(plan, "ascend", [target.prompt for target in targets], restart)
    return Ascents(denoiser.encode(starts), objective, plan.climb_of(restart), generators)


def _generators(plan: AscendPlan, use: str, prompts: Sequence[str], restart: int) -> list[torch.Generator]:
    from flashbulb.audit.model.sampling import sample_generator

    return [sample_generator(plan.run_seed, f"{use}\n{prompt}", restart) for prompt in prompts]


def kinship(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], reached: Conditioning, plan: AscendPlan
) -> list[float]:
    """Return the cosine of each prompt's z-scores to those of what was reached, over the neurons not climbed.

    An ascent can leave a prompt for another prompt's memory; the neurons that it did not climb then no longer look
    like the prompt's. Costs `N_KINSHIP` UE for the prompt and as many for what was reached.

    Args:
        reached: where each ascent ended, a row.
    """
    import torch

    from flashbulb.audit.model.sampling import sample_generator

    generator = sample_generator(plan.run_seed, "kinship", 0)
    latents = denoiser.noise([generator] * N_KINSHIP)
    own = denoiser.encode([target.prompt for target in targets]).conditioning
    cosines: list[float] = []
    for first in range(0, len(targets), plan.climb.batch_size):
        rows = slice(first, first + plan.climb.batch_size)
        before = scores.mean_over_noise(own.rows(rows), latents)
        after = scores.mean_over_noise(reached.rows(rows).to(denoiser.device, denoiser.dtype), latents)
        climbed = torch.tensor([target.neurons for target in targets[rows]], device=before.device)
        held_out = torch.ones_like(before).scatter(1, climbed, 0.0)
        cosines += torch.cosine_similarity(before * held_out, after * held_out, dim=1).tolist()
    return cosines


STRATEGY: type[Strategy] = Ascend
