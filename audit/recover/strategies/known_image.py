"""Given a training image: can this very image be pulled out of the model? (Finding Dori, arXiv 2507.16880)

The prompt's embedding is moved until the model denoises the image: Adam, learning rate 0.1, loss
‖ε − ε_θ(x_t, t, e)‖² with new noise and timesteps each step, eight of them at a time. The authors found that
images which are not memorized cannot be reproduced within 50 steps and start to be beyond 500, so 50 is the limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import BACKWARD_COST, frozen_parameters
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.sampling import sample_generator
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.ladder import LadderPrompt, attempt_from, embed_prompts
from flashbulb.audit.recover.verify import Verifier

MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class KnownImagePlan:
    """How an image is pulled at.

    Args:
        batch_size: noises drawn each step.
    """

    run_seed: int
    n_steps: int
    learning_rate: float
    batch_size: int

    def __post_init__(self) -> None:
        if not 1 <= self.n_steps <= MAX_STEPS:
            raise ValueError(
                f"{self.n_steps} steps: beyond {MAX_STEPS} images come out that were never memorized; give 1 to 50"
            )

    @property
    def evaluations(self) -> int:
        """UE of one image."""
        return (1 + BACKWARD_COST) * self.n_steps * self.batch_size


@dataclass(frozen=True, slots=True)
class KnownImage:
    """The strategy: pull at the training image nearest to each prompt's samples, then verify what comes out."""

    denoiser: Denoiser
    verifier: Verifier
    plan: KnownImagePlan
    name: ClassVar[str] = "known_image"
    n_restarts: ClassVar[int] = 1
    is_plain: ClassVar[bool] = False

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return a key that holds the image: attempts belong to the image they pull at."""
        known = prompt.known()
        return prompt.key if known is None else f"{prompt.key}/{hashlib.sha256(known.tobytes()).hexdigest()[:16]}"

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return the plan, and how its images are verified."""
        return {**asdict(self.plan), **self.verifier.settings}

    def run(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Pull at each prompt's training image, one after the other."""
        attempts = []
        for prompt in prompts:
            known = prompt.known()
            assert known is not None, "settings without training images refuse this strategy"
            embeds = pull_out(self.denoiser, known, embed_prompts(self.denoiser, [prompt]), prompt.key, self.plan)
            (look,) = self.verifier.look(embeds, [f"known image\n{prompt.key}"])
            attempts.append(attempt_from(look, self.name, restart, self.plan.evaluations, embeds[0]))
        return attempts


def pull_out(denoiser: Denoiser, image: RgbImages, start: Tensor, key: str, plan: KnownImagePlan) -> Tensor:
    """Return prompt_embeds [1, position, width] that denoise `image` [1, height, width, 3].

    Args:
        start: prompt_embeds to start from, [1, position, width].
        key: seed of noise and timesteps.
    """
    generator = sample_generator(plan.run_seed, f"known image\n{key}", 0)
    clean = denoiser.encode_images(image)
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
