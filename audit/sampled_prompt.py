"""What picture detectors see: one prompt and the pictures that sampling it gave."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from audit.denoiser import Denoiser
from audit.evidence import Pictures


@dataclass(frozen=True, slots=True)
class SampledPrompt:
    """One prompt, its pictures [seed, height, width, 3] (uint8), and the model that gave them.

    Args:
        prompt_embeds: [1, position, width].
        classes: [1, position], see `hooks.TokenClass`.
        last_timestep: the scheduler's t of the last step of sampling.
        generator_seed: for detectors that draw noise, so that a run can be repeated.
    """

    denoiser: Denoiser
    pictures: Pictures
    prompt_embeds: Tensor
    classes: Tensor
    last_timestep: int
    generator_seed: int
