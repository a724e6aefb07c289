"""Sample images from a pipeline, so that each depends only on its prompt and seed and not on its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.hooks import NonFiniteActivation


def sample_generator(run_seed: int, prompt: str, image_index: int) -> torch.Generator:
    """Make the CPU generator of an image, seeded from run seed, prompt and image index."""
    digest = hashlib.sha256(f"{run_seed}\n{image_index}\n{prompt}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@torch.no_grad()
def sample_images(
    pipe: Any,
    prompts: Sequence[str],
    image_indices: Sequence[int],
    *,
    run_seed: int,
    num_inference_steps: int,
    guidance_scale: float,
) -> RgbImages:
    """Sample an image for each pair of prompt and image index, in one batch: [image, height, width, 3].

    Raises:
        NonFiniteActivation: an image has a value that is not finite, as float16 decoders produce.
    """
    output = pipe(
        prompt=list(prompts),
        generator=[sample_generator(run_seed, p, i) for p, i in zip(prompts, image_indices, strict=True)],
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="np",
    )
    names = [f"prompt {p!r}, image {i}" for p, i in zip(prompts, image_indices, strict=True)]
    return _as_images(output.images, names)


@torch.no_grad()
def sample_embeds(
    pipe: Any,
    prompt_embeds: Tensor,
    generators: Sequence[torch.Generator],
    *,
    num_inference_steps: int,
    guidance_scale: float,
    batch_size: int,
) -> RgbImages:
    """Sample an image for each row of prompt_embeds [image, position, width]; its CPU generator draws x_T.

    An image costs `num_inference_steps` UE (UNet evaluations of one latent), twice as many with a guidance above 1.

    Returns:
        Images [image, height, width, 3].

    Raises:
        NonFiniteActivation: as `sample_images`.
    """

    def call(rows: slice) -> Any:
        return pipe(
            prompt_embeds=prompt_embeds[rows].to(pipe.unet.device, pipe.unet.dtype),
            generator=list(generators[rows]),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            output_type="np",
        )

    return _in_batches(call, len(generators), batch_size, "start")


@torch.no_grad()
def renoise_images(
    pipe: Any,
    images: RgbImages,
    prompt_embeds: Tensor,
    generators: Sequence[torch.Generator],
    *,
    num_inference_steps: int,
    strength: float,
    batch_size: int,
) -> RgbImages:
    """Add noise to each image [image, height, width, 3] and denoise it again without guidance.

    An image costs `num_inference_steps` × `strength` UE.

    Args:
        strength: how much noise is added, in [0, 1]; 1 is pure noise.

    Raises:
        NonFiniteActivation: as `sample_images`.
    """
    img2img = StableDiffusionImg2ImgPipeline(
        **{name: part for name, part in pipe.components.items() if name != "image_encoder"},
        requires_safety_checker=False,
    )
    img2img.set_progress_bar_config(disable=True)

    def call(rows: slice) -> Any:
        return img2img(
            image=[Image.fromarray(image) for image in images[rows]],
            prompt_embeds=prompt_embeds[rows].to(pipe.unet.device, pipe.unet.dtype),
            generator=list(generators[rows]),
            num_inference_steps=num_inference_steps,
            strength=strength,
            guidance_scale=1.0,
            output_type="np",
        )

    return _in_batches(call, len(generators), batch_size, "image")


def _in_batches(call: Callable[[slice], Any], n: int, batch_size: int, what: str) -> RgbImages:
    """Call the pipeline on `n` rows, some at a time; `what` names a row in errors."""
    parts = []
    for first in range(0, n, batch_size):
        images = call(slice(first, first + batch_size)).images
        parts.append(_as_images(images, [f"{what} {first + i}" for i in range(len(images))]))
    return np.concatenate(parts)


def _as_images(images: Any, names: Sequence[str]) -> RgbImages:
    array = np.asarray(images)  # [image, height, width, 3] in [0, 1]
    broken = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2, 3)))
    if broken.size:
        raise NonFiniteActivation(
            f"the image of {names[broken[0]]} is not finite; load the model in float32 or bfloat16"
        )
    return np.asarray((array * 255).round(), dtype=np.uint8)
