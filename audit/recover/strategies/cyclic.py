"""Noise the samples part of the way and denoise them with the prompt, again and again.

Repeated so, images drift to what the model holds on to (cyclic denoising, arXiv 2606.24000; its exact schedule could
not be verified, strength and number of cycles are ours). A memory is such a place: if the prompt leads near one,
different samples end on the same image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, Tools, attempt_from, encode_prompts
from flashbulb.audit.recover.strategies.sample import Sample

if TYPE_CHECKING:
    from flashbulb.audit.images.distances import RgbImages
    from flashbulb.audit.model.conditioning import Conditioning
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.verify import Verifier

N_CYCLES, STRENGTH, N_STEPS = 3, 0.6, 20
"""No user sets these: experiments on the planted models settled them (docs/recovery-tried.md)."""


@dataclass(frozen=True, slots=True)
class CyclicPlan:
    """How samples are noised and denoised; `strength` 1 is pure noise, which forgets the sample."""

    run_seed: int
    n_cycles: int
    strength: float
    num_inference_steps: int
    batch_size: int

    def evaluations(self, denoiser: Denoiser, n_samples: int) -> int:
        """Return the UE of one prompt with `n_samples` images."""
        return self.n_cycles * n_samples * denoiser.evaluations_per_renoising(self.num_inference_steps, self.strength)


@dataclass(frozen=True, slots=True)
class Cyclic:
    """The strategy: drift the samples, then verify where they end."""

    denoiser: Denoiser
    verifier: Verifier
    plan: CyclicPlan
    n_samples: int
    name: ClassVar[str] = "cyclic"
    place: ClassVar[int] = 20
    is_default: ClassVar[bool] = True
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = False
    identity: ClassVar[frozenset[str]] = Sample.identity
    n_restarts: ClassVar[int] = 1

    @staticmethod
    def missing(values: Mapping[str, Any]) -> None:
        """Return None: the samples are enough."""

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> Cyclic:
        """Plan the cycles of as many images as are sampled."""
        plan = CyclicPlan(values["seed"], N_CYCLES, STRENGTH, N_STEPS, values["batch_size"])
        return cls(tools.denoiser, tools.verifier, plan, tools.samples.n_samples)

    @property
    def worst_cost(self) -> int:
        """UE of all cycles of a prompt, and of its verification."""
        return self.plan.evaluations(self.denoiser, self.n_samples) + self.verifier.most_evaluations

    @property
    def kept_images(self) -> int:
        """Where each sample ends, in the attempt, the best of them as an image, and the mask."""
        return self.n_samples + 2

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return the plan, and how its images are verified."""
        return {**asdict(self.plan), **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Drift the samples of every prompt and verify them."""
        conditioning = encode_prompts(self.denoiser, prompts)
        keys = [f"cyclic\n{prompt.key}" for prompt in prompts]
        sampled = [prompt.sampled[: self.n_samples] for prompt in prompts]  # some prompts have more seeds
        drifted = cycle(self.denoiser, sampled, conditioning, keys, self.plan)
        cost = self.plan.evaluations(self.denoiser, self.n_samples)
        looked = self.verifier.look_at(conditioning, keys, drifted)
        rows = zip(looked, conditioning.each(), strict=True)
        return [attempt_from(look, self.name, restart, cost, row) for look, row in rows]


def cycle(
    denoiser: Denoiser,
    images: Sequence[RgbImages],
    conditioning: Conditioning,
    keys: Sequence[str],
    plan: CyclicPlan,
) -> list[RgbImages]:
    """Return where each prompt's images [sample, height, width, 3] drift.

    Args:
        conditioning: of each prompt, a row.
        keys: seeds of each prompt's noise.
    """
    import numpy as np

    from flashbulb.audit.model.sampling import sample_generator

    n_samples = len(images[0])
    conditioning = conditioning.repeat(n_samples)
    drifting = np.concatenate(list(images))
    for turn in range(plan.n_cycles):
        generators = [
            sample_generator(plan.run_seed, f"cycle {turn}\n{key}", i) for key in keys for i in range(n_samples)
        ]
        drifting = denoiser.renoise(
            drifting,
            conditioning,
            generators,
            num_inference_steps=plan.num_inference_steps,
            strength=plan.strength,
            batch_size=plan.batch_size,
        )
    return np.split(drifting, len(images))


STRATEGY: type[Strategy] = Cyclic
