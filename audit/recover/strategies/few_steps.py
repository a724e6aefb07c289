"""Many seeds in few steps: what comes at some seeds only, or with some of the words only.

Most of what sampling costs goes into detail. Six steps give a coarse image, but the same image at as large a share of
the seeds as 25 steps (docs/recovery-tried.md), so four times as many seeds can be tried. The first attempt gives them
all the whole prompt. The second leaves one to three random words out, other ones at each seed: a word that is wrong
hides what the others recall. What an attempt gives is the largest group of samples that are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, Tools, attempt_from
from flashbulb.reports.tables.limits import CONFIRMED_AT

if TYPE_CHECKING:
    from flashbulb.audit.images.distances import RgbImages
    from flashbulb.audit.model.conditioning import Conditioning
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.verify import Looked, Verifier

N_SEEDS, N_STEPS, GUIDANCE_SCALE = 52, 6, 2.0
"""No user sets these: experiments on the planted models settled them (docs/recovery-tried.md)."""


@dataclass(frozen=True, slots=True)
class FewStepsPlan:
    """How a prompt is sampled in few steps; `batch_size` is the images in one call of the pipeline."""

    run_seed: int
    n_seeds: int
    num_inference_steps: int
    guidance_scale: float
    batch_size: int

    def evaluations(self, denoiser: Denoiser) -> int:
        """Return the UE of all seeds of one row."""
        return self.n_seeds * denoiser.evaluations_per_image(self.num_inference_steps, self.guidance_scale)


def few_steps_plan(values: Mapping[str, Any], n_seeds: int) -> FewStepsPlan:
    """Return how an audit with these settings samples in few steps: in no more, and no more guided, than elsewhere."""
    return FewStepsPlan(
        run_seed=values["seed"],
        n_seeds=n_seeds,
        num_inference_steps=min(N_STEPS, values["sample_steps"]),
        guidance_scale=min(GUIDANCE_SCALE, values["guidance_scale"]),
        batch_size=values["batch_size"],
    )


@dataclass(frozen=True, slots=True)
class FewSteps:
    """The strategy: sample many seeds in few steps, then verify the largest group of samples that are alike."""

    denoiser: Denoiser
    verifier: Verifier
    plan: FewStepsPlan
    name: ClassVar[str] = "few_steps"
    place: ClassVar[int] = 5
    is_default: ClassVar[bool] = False
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = False
    identity: ClassVar[frozenset[str]] = frozenset({"seed", "clip_skip", "sample_steps", "guidance_scale"})
    n_restarts: ClassVar[int] = 2

    @staticmethod
    def missing(values: Mapping[str, Any]) -> None:
        """Return None: a model is enough."""

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> FewSteps:
        """Plan the seeds."""
        return cls(tools.denoiser, tools.verifier, few_steps_plan(values, N_SEEDS))

    @property
    def worst_cost(self) -> int:
        """UE of all seeds of both attempts on a prompt, and of the verification of a group of each."""
        return self.n_restarts * (self.plan.evaluations(self.denoiser) + self.verifier.most_evaluations)

    @property
    def kept_images(self) -> int:
        """The group, in the attempt, the best of it as an image, and the mask."""
        from flashbulb.audit.recover.groups import MOST_KEPT

        return MOST_KEPT + 2

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, restart: int) -> dict[str, object]:
        """Return the plan, and how a group is verified."""
        return {**asdict(self.plan), "is_shortened": bool(restart), **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Sample every prompt and verify the largest group of samples that are alike."""
        from flashbulb.audit.recover.groups import alike_samples, look_at_groups

        texts = [self._texts(prompt.target.prompt, restart) for prompt in prompts]
        keys = [f"few steps {restart}\n{prompt.key}" for prompt in prompts]
        encoded = encode_once(self.denoiser, [text for variants in texts for text in variants], self.plan.batch_size)
        sampled = sample_in_few_steps(self.denoiser, encoded, keys, self.plan)
        groups = [alike_samples(images) for images in sampled]
        first = self.plan.n_seeds
        middles = encoded.rows([i * first + (group[0] if group else 0) for i, group in enumerate(groups)])
        looked = [_if_sure(look) for look in look_at_groups(self.verifier, middles, keys, sampled, groups)]
        cost = self.plan.evaluations(self.denoiser)
        rows = zip(looked, middles.each(), strict=True)
        return [attempt_from(look, self.name, restart, cost, row) for look, row in rows]

    def _texts(self, text: str, restart: int) -> list[str]:
        """Return what each seed is given."""
        from flashbulb.audit.ascent.shorten import random_shortenings
        from flashbulb.audit.model.sampling import sample_generator

        n = self.plan.n_seeds
        if not restart:
            return [text] * n
        return random_shortenings(text, n, sample_generator(self.plan.run_seed, f"left out\n{text}", 0))


def _if_sure(look: Looked) -> Looked:
    """Return a look without its signs unless they confirm a memory.

    Where a prompt describes a simple scene, a few of so many samples are alike as well, and signs that make an image
    likely are mistaken (docs/recovery-tried.md).
    """
    from flashbulb.audit.recover.signs import confidence_of

    is_sure = look.signs is not None and confidence_of(look.signs, is_plain=False) >= CONFIRMED_AT
    return look if is_sure else replace(look, signs=None)


def encode_once(denoiser: Denoiser, texts: Sequence[str], batch_size: int) -> Conditioning:
    """Encode texts, a row each, on the CPU in float32; a repeated text is encoded once."""
    from flashbulb.audit.model.conditioning import Conditioning

    distinct = list(dict.fromkeys(texts))
    batches = [distinct[first : first + batch_size] for first in range(0, len(distinct), batch_size)]
    encoded = Conditioning.join([denoiser.encode(batch).conditioning.kept() for batch in batches])
    row_of = {text: row for row, text in enumerate(distinct)}
    return encoded.rows([row_of[text] for text in texts])


def sample_in_few_steps(
    denoiser: Denoiser, conditioning: Conditioning, keys: Sequence[str], plan: FewStepsPlan
) -> list[RgbImages]:
    """Sample rows of `conditioning`, equally many for each key, once each: for each key [row, height, width, 3].

    Args:
        keys: seeds of the noise of each key's rows.
    """
    import numpy as np

    from flashbulb.audit.model.sampling import sample_generator

    n_rows = len(conditioning) // len(keys)
    images = denoiser.sample(
        conditioning,
        [sample_generator(plan.run_seed, key, i) for key in keys for i in range(n_rows)],
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
        batch_size=plan.batch_size,
    )
    return np.split(images, len(keys))


STRATEGY: type[Strategy] = FewSteps
