"""Gradient ascent from what some of a prompt's words recall most, and many seeds of what is reached.

Where several words are wrong, no single one hides the memory. Prompts without one to three random words are cheap to
rank: one evaluation shows how high the neurons spike. The best few are climbed, and each of what is reached is sampled
in few steps. What the attempt gives is the largest group of samples that are alike, if it is still the prompt's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, Tools, attempt_from
from flashbulb.audit.recover.strategies.ascend import N_KINSHIP, Ascend, AscendPlan, ascend_plan, kinship
from flashbulb.audit.recover.strategies.few_steps import FewStepsPlan, few_steps_plan, sample_in_few_steps

if TYPE_CHECKING:
    from flashbulb.audit.ascent.neurons import NeuronScores
    from flashbulb.audit.model.conditioning import Conditioning
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy, Target
    from flashbulb.audit.recover.verify import Verifier

N_TRIED, N_BEST, N_SEEDS = 64, 4, 8
"""Shortened prompts that are ranked, those that are climbed, and the seeds of each. No user sets them: experiments on
the planted models settled them (docs/recovery-tried.md)."""
RESTART = 1
"""The restart of `ascend` that climbs as this strategy does: the highest neurons, in few large steps."""


@dataclass(frozen=True, slots=True)
class AscendShortened:
    """The strategy: climb from the best shortened prompts, sample each, and verify the largest group of samples."""

    denoiser: Denoiser
    scores: NeuronScores | None
    verifier: Verifier
    ascend: AscendPlan
    plan: FewStepsPlan
    name: ClassVar[str] = "ascend_shortened"
    place: ClassVar[int] = 15
    is_default: ClassVar[bool] = False
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = True
    identity: ClassVar[frozenset[str]] = Ascend.identity | {"clip_skip", "sample_steps", "guidance_scale"}
    n_restarts: ClassVar[int] = 1

    @staticmethod
    def missing(values: Mapping[str, Any]) -> str | None:
        """Return an error line where the neurons to climb are not recorded."""
        line = Ascend.missing(values)
        return None if line is None else line.replace(f"{Ascend.name} ", f"{AscendShortened.name} ")

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> AscendShortened:
        """Plan the ascents and the seeds."""
        plans = ascend_plan(values), few_steps_plan(values, N_SEEDS)
        return cls(tools.denoiser, tools.scores, tools.verifier, *plans)

    @property
    def worst_cost(self) -> int:
        """UE of the ranking, the ascents, the samples, the kinship of a prompt, and of its verification."""
        from flashbulb.audit.model.evaluations import BACKWARD_COST

        ascent_cost = (1 + BACKWARD_COST) * self.ascend.climb_of(RESTART).n_steps + self.plan.evaluations(self.denoiser)
        return N_TRIED + N_BEST * ascent_cost + 2 * N_KINSHIP + self.verifier.most_evaluations

    @property
    def kept_images(self) -> int:
        """The group, in the attempt, the best of it as an image, and the mask."""
        from flashbulb.audit.recover.groups import MOST_KEPT

        return MOST_KEPT + 2

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return how the ascents are made, and their images sampled and verified."""
        numbers = {"n_tried": N_TRIED, "n_best": N_BEST}
        return {**numbers, **asdict(self.ascend.climb_of(RESTART)), **asdict(self.plan), **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Climb from the best shortened prompts of each prompt and verify the largest group of samples."""
        from flashbulb.audit.recover.groups import alike_samples, look_at_groups

        assert self.scores is not None, "nothing is tried before neurons are scored"
        targets = [prompt.target for prompt in prompts]
        reached, spent = self._climb(targets, self.scores)
        keys = [f"ascend shortened\n{prompt.key}" for prompt in prompts]
        sampled = sample_in_few_steps(self.denoiser, reached.repeat(N_SEEDS), keys, self.plan)
        groups = [alike_samples(images) for images in sampled]
        middles = reached.rows([i * N_BEST + (group[0] // N_SEEDS if group else 0) for i, group in enumerate(groups)])
        looked = look_at_groups(self.verifier, middles, keys, sampled, groups)
        cosines = kinship(self.denoiser, self.scores, targets, middles, self.ascend)
        cost = N_BEST * self.plan.evaluations(self.denoiser) + 2 * N_KINSHIP
        return [
            attempt_from(look, self.name, restart, cost + before, row, cosine)
            for look, before, row, cosine in zip(looked, spent, middles.each(), cosines, strict=True)
        ]

    def _climb(self, targets: Sequence[Target], scores: NeuronScores) -> tuple[Conditioning, list[int]]:
        """Return where the ascents end, `N_BEST` rows a target, and the UE spent on each target."""
        import torch

        from flashbulb.audit.ascent.climb import climb
        from flashbulb.audit.ascent.neurons import HighestNeurons
        from flashbulb.audit.ascent.shorten import best_shortenings
        from flashbulb.audit.model.sampling import sample_generator

        seed, n_highest, texts = self.plan.run_seed, self.ascend.n_highest, [target.prompt for target in targets]
        drawing = [sample_generator(seed, f"left out, climbed\n{text}", 0) for text in texts]
        size = self.plan.batch_size
        starts = best_shortenings(self.denoiser, scores, texts, N_TRIED, N_BEST, n_highest, drawing, size)
        climbing = [text for start in starts for text in start.texts]
        noise = [sample_generator(seed, f"ascend shortened {i % N_BEST}\n{t}", 0) for i, t in enumerate(climbing)]
        seen = torch.ones(len(climbing), scores.n_neurons, device=self.denoiser.device)
        objective, plan = HighestNeurons(scores, n_highest, seen, seen[:0]), self.ascend.climb_of(RESTART)
        climbed = climb(self.denoiser, self.denoiser.encode(climbing), objective, plan, noise)
        return climbed.conditioning, [start.evaluations + N_BEST * climbed.evaluations for start in starts]


STRATEGY: type[Strategy] = AscendShortened
