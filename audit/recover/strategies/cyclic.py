"""Noise the samples part of the way and denoise them with the prompt, again and again.

Repeated so, images drift to what the model holds on to (cyclic denoising, arXiv 2606.24000; its exact schedule could
not be verified, strength and number of cycles are ours). A memory is such a place: if the prompt leads near one,
different samples end on the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.sampling import renoise_images, sample_generator
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.ladder import LadderPrompt, attempt_from, embed_prompts
from flashbulb.audit.recover.verify import Verifier


@dataclass(frozen=True, slots=True)
class CyclicPlan:
    """How samples are noised and denoised; `strength` 1 is pure noise, which forgets the sample."""

    run_seed: int
    n_cycles: int
    strength: float
    num_inference_steps: int
    batch_size: int

    def evaluations(self, n_samples: int) -> int:
        """UE of one prompt with `n_samples` images."""
        return self.n_cycles * n_samples * int(self.num_inference_steps * self.strength)


@dataclass(frozen=True, slots=True)
class Cyclic:
    """The strategy: drift the samples, then verify where they end."""

    denoiser: Denoiser
    verifier: Verifier
    plan: CyclicPlan
    name: ClassVar[str] = "cyclic"
    n_restarts: ClassVar[int] = 1
    is_plain: ClassVar[bool] = False

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return the key of the prompt."""
        return prompt.key

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return the plan, and how its images are verified."""
        return {**asdict(self.plan), **self.verifier.settings}

    def run(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Drift the samples of every prompt and verify them."""
        embeds = embed_prompts(self.denoiser, prompts)
        keys = [f"cyclic\n{prompt.key}" for prompt in prompts]
        drifted = cycle(self.denoiser, [prompt.sampled for prompt in prompts], embeds, keys, self.plan)
        cost = self.plan.evaluations(len(prompts[0].sampled))
        looked = self.verifier.look_at(embeds, keys, drifted)
        return [attempt_from(look, self.name, restart, cost, row) for look, row in zip(looked, embeds, strict=True)]


def cycle(
    denoiser: Denoiser, images: Sequence[RgbImages], prompt_embeds: Tensor, keys: Sequence[str], plan: CyclicPlan
) -> list[RgbImages]:
    """Return where each prompt's images [sample, height, width, 3] drift.

    Args:
        prompt_embeds: [prompt, position, width].
        keys: seeds of each prompt's noise.
    """
    n_samples = len(images[0])
    embeds = prompt_embeds.repeat_interleave(n_samples, dim=0)
    drifting = np.concatenate(list(images))
    for turn in range(plan.n_cycles):
        generators = [
            sample_generator(plan.run_seed, f"cycle {turn}\n{key}", i) for key in keys for i in range(n_samples)
        ]
        drifting = renoise_images(
            denoiser.pipe,
            drifting,
            embeds,
            generators,
            num_inference_steps=plan.num_inference_steps,
            strength=plan.strength,
            batch_size=plan.batch_size,
        )
    return np.split(drifting, len(images))
