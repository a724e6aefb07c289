"""Wen et al.'s detector (arXiv 2407.21720): how far a prompt moves the first noise prediction.

The statistic is the norm of the difference between the noise predicted for the prompt and for the empty prompt at x_T,
averaged over seeds. It costs 2 UE a seed, 1 where the empty prompt's half is shared between prompts, as here.
"""

from __future__ import annotations

from torch import Tensor

from audit.detectors import StepDetector
from audit.step import Step


def text_conditional_noise(step: Step) -> Tensor:
    """‖ε(x_T, c) − ε(x_T, ∅)‖₂ of each prompt and seed: [prompt, seed]."""
    difference = step.noise.float() - step.noise_uncond.float()  # [prompt, seed, channel, row, column]
    norms: Tensor = difference.flatten(2).norm(dim=2)
    return norms


DETECTOR = StepDetector(
    name="text_conditional_noise",
    source="Wen et al. 2024, arXiv 2407.21720",
    evaluations_per_seed=1,
    measure=text_conditional_noise,
)
