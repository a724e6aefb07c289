"""Jeon et al.'s detector (arXiv 2412.04140): how sharply a prompt bends the model's probability landscape at x_T.

The statistic is ‖HΔ sΔ‖ of each latent: sΔ is the score of the prompt minus that of the empty prompt, HΔ its Jacobian.
The paper squares it (section 4.4); its code, Dongjae0324/sharpness_memorization_diffusion, local_model/pipe.py, does
not, nor do we. They multiply by automatic differentiation; we take the finite difference of their section 5.1,
‖sΔ‖ · ‖sΔ(x_T + δ sΔ/‖sΔ‖) − sΔ(x_T)‖ / δ, with a step along the unit vector and δ = 1 as in their code for
mitigation. The noise difference stands for sΔ: it differs by a factor that is the same for all prompts.

It costs 3 UE a seed, the empty prompt at x_T being shared. On 4 × 64 × 64 latents the step moves one value by some
0.008, as much as bfloat16 rounds values near 1: measure in float16 or float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.detectors import StepDetector
from audit.step import Step

STEP_LENGTH = 1.0
"""δ, in the units of x_T, whose values have unit variance."""


def sharpness(step: Step) -> Tensor:
    """‖HΔ sΔ‖₂ at x_T of each prompt and seed, 0 where the prompt changes nothing: [prompt, seed]."""
    difference = step.noise.float() - step.noise_uncond.float()  # [prompt, seed, channel, row, column]
    size: Tensor = difference.flatten(2).norm(dim=2)  # [prompt, seed]
    direction = difference / size[..., None, None, None].clamp_min(torch.finfo(torch.float32).tiny)
    moved = (step.latents.float() + STEP_LENGTH * direction).to(step.latents.dtype)
    conditional = step.predict(moved, step.timestep, conditional=True).float()
    unconditional = step.predict(moved, step.timestep, conditional=False).float()
    change: Tensor = (conditional - unconditional - difference).flatten(2).norm(dim=2)
    return size * change / STEP_LENGTH


DETECTOR = StepDetector(
    name="sharpness",
    source="Jeon et al. 2025, arXiv 2412.04140",
    evaluations_per_seed=3,
    measure=sharpness,
)
