"""Plain samples of a prompt with several seeds (Carlini et al., arXiv 2301.13188), kept as images on disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.images.png import read_image, save_image
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.run.together import together
from flashbulb.reports.tables.files import IMAGES_DIRECTORY

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """How prompts are sampled; every field is written into each image's metadata."""

    run_seed: int
    n_samples: int
    num_inference_steps: int
    guidance_scale: float

    def evaluations(self, denoiser: Denoiser) -> int:
        """Return the UE of one prompt."""
        return self.n_samples * denoiser.evaluations_per_image(self.num_inference_steps, self.guidance_scale)


def sample_prompts(denoiser: Denoiser, prompts: Sequence[str], plan: SamplePlan, first: int = 0) -> list[RgbImages]:
    """Sample every prompt with every seed from `first` on, in one batch: for each prompt [seed, height, width, 3]."""
    seeds = range(first, plan.n_samples)
    texts = [prompt for prompt in prompts for _ in seeds]
    indices = [*seeds] * len(prompts)
    images = denoiser.sample_prompts(
        texts,
        indices,
        run_seed=plan.run_seed,
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
    )
    return np.split(images, len(prompts))


def sample_and_keep(
    denoiser: Denoiser, prompts: Mapping[Path, str], plan: SamplePlan, fingerprint: str, first: int, *, keeps: bool
) -> list[RgbImages]:
    """Sample prompts in one batch as `sample_prompts` does, and save all images together if `keeps`.

    Args:
        prompts: by the folder of their images.
    """
    if not prompts:
        return []
    sampled = sample_prompts(denoiser, [*prompts.values()], plan, first)
    if keeps:
        with together([folder / image_name(i) for folder in prompts for i in range(first, plan.n_samples)]):
            for (folder, prompt), images in zip(prompts.items(), sampled, strict=True):
                save_images(folder, images, prompt, plan, fingerprint, first)
    return sampled


def image_name(image_index: int) -> str:
    """Return the file name of a sample."""
    return f"seed-{image_index}.png"


def sample_paths(run: Path, prompt_id: str, n_samples: int) -> tuple[Path, ...]:
    """Return the paths of a prompt's plain samples."""
    return tuple(run / IMAGES_DIRECTORY / prompt_id / image_name(index) for index in range(n_samples))


def save_images(
    folder: Path, images: RgbImages, prompt: str, plan: SamplePlan, fingerprint: str, first: int = 0
) -> None:
    """Write seed-0.png, seed-1.png, … from `first` on, with prompt, seed and settings in their metadata."""
    for index, image in enumerate(images, first):
        stated = {**_metadata(prompt, plan, fingerprint), "image_index": index}
        save_image(folder / image_name(index), image, stated)


def load_images(folder: Path, prompt: str, plan: SamplePlan, fingerprint: str, first: int = 0) -> RgbImages | None:
    """Return the images from seed `first` on that `save_images` wrote for exactly this prompt, plan and model.

    Returns None if any is missing or damaged; damage is logged.
    """
    images = []
    for index in range(first, plan.n_samples):
        try:
            image = read_image(folder / image_name(index))
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("%s; the prompt is sampled again", error)
            return None
        if image.metadata != {**_metadata(prompt, plan, fingerprint), "image_index": index}:
            return None
        images.append(image.pixels)
    return np.stack(images)


def _metadata(prompt: str, plan: SamplePlan, fingerprint: str) -> Mapping[str, Any]:
    return {
        "prompt": prompt,
        "run_seed": plan.run_seed,
        "num_inference_steps": plan.num_inference_steps,
        "guidance_scale": plan.guidance_scale,
        "fingerprint": fingerprint,
    }
