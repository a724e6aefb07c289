"""Pull at a known image: ascend from a prompt until the model denoises the image, then sample unseen seeds.

The variable is what the text encoder makes of the prompt, mostly the empty one. Each vector stays within a ball around
its start, and the steps are few: without limits, textual inversion draws any image (Finding Dori, arXiv 2507.16880,
found images that are not memorized to stay out of reach within 50 steps). The noise of the ascent and that of the
samples never agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.evaluations import BACKWARD_COST
from flashbulb.audit.model.prediction import log_losses
from flashbulb.audit.model.sampling import sample_generator


@dataclass(frozen=True, slots=True)
class PullPlan:
    """How images are pulled at.

    Args:
        lowest, highest: shares of the noise schedule between which the steps draw theirs, evenly.
        n_samples: samples of what an ascent found, with seeds that the ascent never saw.
        batch_size: images in one call of the denoiser.
    """

    run_seed: int
    n_steps: int
    learning_rate: float
    radius: float
    lowest: float
    highest: float
    n_samples: int
    sample_steps: int
    guidance_scale: float
    batch_size: int
    checkpointing: bool

    def evaluations(self, denoiser: Denoiser) -> int:
        """Return the UE of one image."""
        sample_cost = denoiser.evaluations_per_image(self.sample_steps, self.guidance_scale)
        return (1 + BACKWARD_COST) * self.n_steps + self.n_samples * sample_cost


def pull(denoiser: Denoiser, images: RgbImages, keys: Sequence[str], plan: PullPlan) -> RgbImages:
    """Return samples of what the ascent for each image found: [image, sample, height, width, 3].

    Args:
        keys: seeds of each image's noise.
    """
    return sample_pulled(denoiser, ascend_towards(denoiser, images, keys, plan), keys, plan)


def ascend_towards(
    denoiser: Denoiser, images: RgbImages, keys: Sequence[str], plan: PullPlan, start: str = ""
) -> Conditioning:
    """Return a row for each image, at which the model denoises it best.

    Args:
        keys: seeds of each image's noise.
        start: the prompt that every ascent begins from.
    """
    batches = (slice(first, first + plan.batch_size) for first in range(0, len(images), plan.batch_size))
    return Conditioning.join([_find(denoiser, images[batch], keys[batch], plan, start) for batch in batches])


def sample_pulled(denoiser: Denoiser, found: Conditioning, keys: Sequence[str], plan: PullPlan) -> RgbImages:
    """Sample each row with seeds that no ascent saw: [row, sample, height, width, 3]."""
    samples = denoiser.sample(
        found.repeat(plan.n_samples),
        [sample_generator(plan.run_seed, f"pull sample\n{key}", i) for key in keys for i in range(plan.n_samples)],
        num_inference_steps=plan.sample_steps,
        guidance_scale=plan.guidance_scale,
        batch_size=plan.batch_size,
    )
    return samples.reshape(len(keys), plan.n_samples, *samples.shape[1:])


def _find(denoiser: Denoiser, images: RgbImages, keys: Sequence[str], plan: PullPlan, start: str) -> Conditioning:
    """Return the rows of one batch."""
    ascent = ClimbPlan(
        n_steps=plan.n_steps,
        learning_rate=plan.learning_rate,
        radius=plan.radius,
        variable="prompt_embeds",
        batch_size=len(images),
        checkpointing=plan.checkpointing,
    )
    latents, timesteps = denoiser.encode_images(images), _timesteps(denoiser, plan)

    def denoises(noise: Tensor, conditioning: Conditioning, rows: slice) -> Tensor:
        timestep = next(timesteps)
        predicted = denoiser.predict(denoiser.noised(latents[rows], noise, timestep), timestep, conditioning)
        return -log_losses(predicted.losses(noise))  # the log weighs all timesteps alike

    generators = [sample_generator(plan.run_seed, f"pull noise\n{key}", 0) for key in keys]
    return climb(denoiser, denoiser.encode([start] * len(images)), denoises, ascent, generators).conditioning


def _timesteps(denoiser: Denoiser, plan: PullPlan) -> Iterator[int]:
    """Yield the timestep of every step, spread evenly and in random order."""
    order = torch.randperm(plan.n_steps, generator=sample_generator(plan.run_seed, "pull timesteps", 0))
    shares = plan.lowest + (plan.highest - plan.lowest) * (order + 0.5) / plan.n_steps
    return iter((shares * denoiser.n_timesteps).int().tolist())
