"""The third rung: noise the best samples part of the way and denoise them with the prompt, again and again.

Repeated so, pictures drift to what the model holds on to (cyclic denoising, arXiv 2606.24000, whose exact schedule
could not be verified; strength and number of cycles are ours). A memory is such a place; if the prompt leads near
one, different samples end on the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from audit.denoiser import Denoiser
from audit.evidence import Pictures
from audit.sampling import renoise_pictures, sample_generator


@dataclass(frozen=True, slots=True)
class CyclicPlan:
    """How samples are noised and denoised; `strength` 1 is pure noise, which forgets the sample."""

    run_seed: int
    n_cycles: int
    strength: float
    num_inference_steps: int
    batch_size: int

    def evaluations(self, n_samples: int) -> int:
        """UE of one prompt with so many samples."""
        return self.n_cycles * n_samples * int(self.num_inference_steps * self.strength)


def cycle(
    denoiser: Denoiser, pictures: Sequence[Pictures], prompt_embeds: Tensor, keys: Sequence[str], plan: CyclicPlan
) -> list[Pictures]:
    """Where each prompt's pictures [sample, height, width, 3] drift.

    Args:
        prompt_embeds: [prompt, position, width].
        keys: what the noise of each prompt is seeded from.
    """
    n_samples = len(pictures[0])
    embeds = prompt_embeds.repeat_interleave(n_samples, dim=0)
    drifting = np.concatenate(list(pictures))
    for turn in range(plan.n_cycles):
        generators = [
            sample_generator(plan.run_seed, f"cycle {turn}\n{key}", i) for key in keys for i in range(n_samples)
        ]
        drifting = renoise_pictures(
            denoiser.pipe,
            drifting,
            embeds,
            generators,
            num_inference_steps=plan.num_inference_steps,
            strength=plan.strength,
            batch_size=plan.batch_size,
        )
    return np.split(drifting, len(pictures))
