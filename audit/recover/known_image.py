"""The last rung, with training pictures at hand: can this very picture be pulled out? (Finding Dori, arXiv 2507.16880)

The prompt's embedding is moved until the model denoises the picture: Adam, learning rate 0.1, loss
‖ε − ε_θ(x_t, t, e)‖² with noise and timestep drawn anew each step, eight of them at a time. They found that pictures
that are not memorized cannot be reproduced within 50 steps and start to be beyond 500, so 50 is the most allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audit.denoiser import Denoiser
from audit.evidence import Pictures
from audit.recover.climb import BACKWARD_COST, frozen_parameters
from audit.sampling import sample_generator

MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class KnownImagePlan:
    """How a picture is pulled at; `batch_size` noises a step."""

    run_seed: int
    n_steps: int
    learning_rate: float
    batch_size: int

    def __post_init__(self) -> None:
        if not 1 <= self.n_steps <= MAX_STEPS:
            raise ValueError(
                f"{self.n_steps} steps: beyond {MAX_STEPS} pictures come out that were never memorized; give 1 to 50"
            )

    @property
    def evaluations(self) -> int:
        """UE of one picture."""
        return (1 + BACKWARD_COST) * self.n_steps * self.batch_size


def pull_out(denoiser: Denoiser, picture: Pictures, start: Tensor, key: str, plan: KnownImagePlan) -> Tensor:
    """prompt_embeds [1, position, width] that denoise `picture` [1, height, width, 3], from those of a prompt.

    Args:
        key: what noise and timesteps are seeded from.
    """
    generator = sample_generator(plan.run_seed, f"known image\n{key}", 0)
    clean = denoiser.encode_pictures(picture)
    moved = start.float().to(denoiser.device).clone().requires_grad_()
    adam = torch.optim.Adam([moved], lr=plan.learning_rate)
    with frozen_parameters(denoiser.pipe):
        for _ in range(plan.n_steps):
            timesteps = torch.randint(denoiser.n_timesteps, (plan.batch_size,), generator=generator)
            noise = denoiser.noise([generator] * plan.batch_size)
            noised = denoiser.noised(clean, noise, timesteps)
            embeds = moved.to(denoiser.dtype).expand(plan.batch_size, -1, -1)
            predicted = denoiser.predict_noise(noised, timesteps.to(denoiser.device), embeds)
            loss = (predicted.float() - noise.float()).square().mean()
            denoiser.evaluations += BACKWARD_COST * plan.batch_size
            (moved.grad,) = torch.autograd.grad(loss, [moved])
            adam.step()
    return moved.detach().float().cpu()
