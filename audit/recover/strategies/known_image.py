"""Given a training image: can this very image be pulled out of the model? (Finding Dori, arXiv 2507.16880)

The prompt's embedding is moved until the model denoises the image: Adam, learning rate 0.1, loss
‖ε − ε_θ(x_t, t, e)‖² with new noise and timesteps each step, eight of them at a time. The authors found that
images which are not memorized cannot be reproduced within 50 steps and start to be beyond 500, so 50 is the limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flashbulb.audit.recover.ladder import LadderPrompt, Tools, attempt_from, encode_prompts

if TYPE_CHECKING:
    from flashbulb.audit.images.distances import RgbImages
    from flashbulb.audit.model.conditioning import Conditioning
    from flashbulb.audit.model.denoiser import Denoiser
    from flashbulb.audit.recover.attempts import Attempt
    from flashbulb.audit.recover.ladder import Strategy
    from flashbulb.audit.recover.verify import Verifier

MAX_STEPS, LEARNING_RATE, N_NOISES = 50, 0.1, 8
"""Those of the paper; no user sets them."""


@dataclass(frozen=True, slots=True)
class KnownImagePlan:
    """How an image is pulled at.

    Args:
        n_noises: noises, each at a timestep of its own, of every step.
    """

    run_seed: int
    n_steps: int
    learning_rate: float
    n_noises: int

    def __post_init__(self) -> None:
        if not 1 <= self.n_steps <= MAX_STEPS:
            raise ValueError(
                f"{self.n_steps} steps: beyond {MAX_STEPS} images come out that were never memorized; give 1 to "
                f"{MAX_STEPS}"
            )

    @property
    def evaluations(self) -> int:
        """UE of one image."""
        from flashbulb.audit.model.evaluations import BACKWARD_COST

        return (1 + BACKWARD_COST) * self.n_steps * self.n_noises


@dataclass(frozen=True, slots=True)
class KnownImage:
    """The strategy: pull at the training image nearest to each prompt's samples, then verify what comes out."""

    denoiser: Denoiser
    verifier: Verifier
    plan: KnownImagePlan
    name: ClassVar[str] = "known_image"
    place: ClassVar[int] = 30
    is_default: ClassVar[bool] = False
    is_plain: ClassVar[bool] = False
    needs_neurons: ClassVar[bool] = False
    identity: ClassVar[frozenset[str]] = frozenset({"seed", "clip_skip"})
    n_restarts: ClassVar[int] = 1

    @staticmethod
    def missing(values: Mapping[str, Any]) -> str | None:
        """Return an error line where no training images are given."""
        if values.get("train_images") is not None:
            return None
        return "--strategy known_image needs training images; give --train-images"

    @classmethod
    def build(cls, tools: Tools, values: Mapping[str, Any]) -> KnownImage:
        """Plan to pull at each prompt's nearest training image."""
        plan = KnownImagePlan(values["seed"], MAX_STEPS, LEARNING_RATE, N_NOISES)
        return cls(tools.denoiser, tools.verifier, plan)

    @property
    def worst_cost(self) -> int:
        """UE of pulling at one image, and of the verification of what comes out."""
        return self.plan.evaluations + self.verifier.most_evaluations

    @property
    def kept_images(self) -> int:
        """The verifier's samples, in the attempt, the best of them as an image, and the mask."""
        return self.verifier.plan.n_samples + 2

    def key_of(self, prompt: LadderPrompt) -> str:
        """Return a key that holds the image: attempts belong to the image they pull at."""
        known = prompt.known()
        return prompt.key if known is None else f"{prompt.key}/{hashlib.sha256(known.tobytes()).hexdigest()[:16]}"

    def settings_of(self, _restart: int) -> dict[str, object]:
        """Return the plan, and how its images are verified."""
        return {**asdict(self.plan), **self.verifier.settings}

    def try_(self, prompts: Sequence[LadderPrompt], restart: int) -> list[Attempt]:
        """Pull at each prompt's training image, one after the other."""
        attempts = []
        for prompt in prompts:
            known = prompt.known()
            assert known is not None, "settings without training images refuse this strategy"
            start = encode_prompts(self.denoiser, [prompt])
            pulled = pull_out(self.denoiser, known, start, prompt.key, self.plan)
            (look,) = self.verifier.look(pulled, [f"known image\n{prompt.key}"])
            attempts.append(attempt_from(look, self.name, restart, self.plan.evaluations, pulled))
        return attempts


def pull_out(denoiser: Denoiser, image: RgbImages, start: Conditioning, key: str, plan: KnownImagePlan) -> Conditioning:
    """Return one row that denoises `image` [1, height, width, 3].

    Args:
        start: where to start, one row.
        key: seed of noise and timesteps.
    """
    import torch

    from flashbulb.audit.model.conditioning import Conditioning
    from flashbulb.audit.model.sampling import sample_generator

    generator = sample_generator(plan.run_seed, f"known image\n{key}", 0)
    clean = denoiser.encode_images(image)
    moved = {
        name: tensor.float().clone().requires_grad_()
        for name, tensor in start.to(denoiser.device, torch.float32).tensors.items()
    }
    adam = torch.optim.Adam(moved.values(), lr=plan.learning_rate)
    with denoiser.frozen():
        for _ in range(plan.n_steps):
            timesteps = torch.randint(denoiser.n_timesteps, (plan.n_noises,), generator=generator)
            noise = denoiser.noise([generator] * plan.n_noises)
            noised = denoiser.noised(clean, noise, timesteps)
            conditioning = Conditioning(moved).to(denoiser.device, denoiser.dtype).repeat(plan.n_noises)
            with denoiser.counting_backward():
                predicted = denoiser.predict(noised, timesteps.to(denoiser.device), conditioning).noise
            loss = (predicted.float() - noise.float()).square().mean()
            for vector, gradient in zip(moved.values(), torch.autograd.grad(loss, list(moved.values())), strict=True):
                vector.grad = gradient
            adam.step()
    return Conditioning(moved).kept()


STRATEGY: type[Strategy] = KnownImage
