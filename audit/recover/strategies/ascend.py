"""Gradient ascent on the neurons that spiked for the prompt, through the text encoder (Flashbulb's own method).

The objective is the mean z-score of exactly those neurons, each in the direction in which it spiked. The first
restart may move every token a little; later ones may move a few words far, or words put in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from flashbulb.audit.recover.ladder import LadderPrompt, Target, Tools, attempt_from

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from flashbulb.audit.ascent.climb import ClimbPlan
    from flashbulb.audit.ascent.neurons import ChosenNeurons, NeuronScores
    from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.verify import Verifier

N_FREE_WORDS, FAR_RATE, FAR_RADIUS = 3, 0.02, 1.5
"""No user sets these: experiments on the planted models settled them (docs/recovery.md)."""

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
    return AscendPlan(values["seed"], values["ascend_restarts"], N_FREE_WORDS, (FAR_RATE, FAR_RADIUS), climb)


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
        from flashbulb.audit.model.network import BACKWARD_COST

        ascent = (1 + BACKWARD_COST) * self.plan.climb.n_steps + 2 * N_KINSHIP
        return self.n_restarts * (ascent + self.verifier.most_evaluations)

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
        return {"run_seed": self.plan.run_seed, **climbing, **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Climb all prompts together and verify what each reached."""
        from flashbulb.audit.ascent.climb import climb

        assert self.scores is not None, "nothing is tried before neurons are scored"
        targets = [prompt.target for prompt in prompts]
        climbed = climb(self.denoiser, *ascents_of(self.denoiser, self.scores, targets, restart, self.plan))
        looked = self.verifier.look(climbed.conditioning, [f"ascend {restart}\n{prompt.key}" for prompt in prompts])
        cosines = kinship(self.denoiser, self.scores, targets, climbed.conditioning, self.plan)
        cost = climbed.evaluations + 2 * N_KINSHIP
        return [
            attempt_from(look, self.name, restart, cost, row, cosine)
            for look, row, cosine in zip(looked, climbed.conditioning.each(), cosines, strict=True)
        ]


class Ascents(NamedTuple):
    """What `climb` is given, in its order: one row a target."""

    prompts: EncodedPrompts
    objective: ChosenNeurons
    plan: ClimbPlan
    generators: list[torch.Generator]
    free: Mapping[str, Tensor]


def ascents_of(
    denoiser: Denoiser, scores: NeuronScores, targets: Sequence[Target], restart: int, plan: AscendPlan
) -> Ascents:
    """Prepare one restart of every target; all targets have equally many neurons."""
    import torch

    from flashbulb.audit.ascent.free_words import choose_start, free_positions
    from flashbulb.audit.ascent.neurons import ChosenNeurons
    from flashbulb.audit.model.sampling import sample_generator

    generators = [sample_generator(plan.run_seed, f"ascend\n{target.prompt}", restart) for target in targets]
    starts = [
        choose_start(denoiser, target.prompt, restart, plan.n_free, generator)
        for target, generator in zip(targets, generators, strict=True)
    ]
    prompts = denoiser.encode([start.text for start in starts])
    objective = ChosenNeurons(
        scores,
        torch.tensor([target.neurons for target in targets], device=denoiser.device),
        torch.tensor([target.signs for target in targets], device=denoiser.device),
    )
    free = free_positions(denoiser, prompts, starts)
    return Ascents(prompts, objective, plan.climb_of(restart), generators, free)


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
