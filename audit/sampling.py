"""Sample pictures from a pipeline so that each depends on its prompt and seed alone, not on its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Tensor

from audit.evidence import Pictures
from hooks import NonFiniteActivation


def sample_generator(run_seed: int, prompt: str, image_index: int) -> torch.Generator:
    """A CPU generator for one picture, seeded from (run seed, prompt, image index)."""
    digest = hashlib.sha256(f"{run_seed}\n{image_index}\n{prompt}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@torch.no_grad()
def sample_pictures(
    pipe: Any,
    prompts: Sequence[str],
    image_indices: Sequence[int],
    *,
    run_seed: int,
    num_inference_steps: int,
    guidance_scale: float,
) -> Pictures:
    """One picture for each (prompt, image index) pair, as one batch: [picture, height, width, 3].

    Raises:
        NonFiniteActivation: the model gave a picture that is not a number somewhere, as float16 decoders do.
    """
    output = pipe(
        prompt=list(prompts),
        generator=[sample_generator(run_seed, p, i) for p, i in zip(prompts, image_indices, strict=True)],
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="np",
    )
    names = [f"prompt {p!r}, image {i}" for p, i in zip(prompts, image_indices, strict=True)]
    return _as_pictures(output.images, names)


@torch.no_grad()
def sample_embeds(
    pipe: Any,
    prompt_embeds: Tensor,
    generators: Sequence[torch.Generator],
    *,
    num_inference_steps: int,
    guidance_scale: float,
    batch_size: int,
) -> Pictures:
    """One picture of each row of prompt_embeds [picture, position, width], its x_T drawn by its CPU generator.

    One picture costs `num_inference_steps` UE, twice that with a guidance above 1.

    Raises:
        NonFiniteActivation: as `sample_pictures`.
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
def renoise_pictures(
    pipe: Any,
    pictures: Pictures,
    prompt_embeds: Tensor,
    generators: Sequence[torch.Generator],
    *,
    num_inference_steps: int,
    strength: float,
    batch_size: int,
) -> Pictures:
    """Noise each picture part of the way (`strength`, 1 is pure noise) and denoise it again without guidance.

    One picture costs `num_inference_steps` × `strength` UE.
    """
    repaint = StableDiffusionImg2ImgPipeline(
        **{name: part for name, part in pipe.components.items() if name != "image_encoder"},
        requires_safety_checker=False,
    )
    repaint.set_progress_bar_config(disable=True)

    def call(rows: slice) -> Any:
        return repaint(
            image=[Image.fromarray(picture) for picture in pictures[rows]],
            prompt_embeds=prompt_embeds[rows].to(pipe.unet.device, pipe.unet.dtype),
            generator=list(generators[rows]),
            num_inference_steps=num_inference_steps,
            strength=strength,
            guidance_scale=1.0,
            output_type="np",
        )

    return _in_batches(call, len(generators), batch_size, "picture")


def _in_batches(call: Callable[[slice], Any], n: int, batch_size: int, what: str) -> Pictures:
    """Pictures of `n` rows, which the pipeline is called with some at a time; `what` a row is called in errors."""
    parts = []
    for first in range(0, n, batch_size):
        images = call(slice(first, first + batch_size)).images
        parts.append(_as_pictures(images, [f"{what} {first + i}" for i in range(len(images))]))
    return np.concatenate(parts)


def _as_pictures(images: Any, names: Sequence[str]) -> Pictures:
    array = np.asarray(images)  # [picture, height, width, 3] in [0, 1]
    broken = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2, 3)))
    if broken.size:
        raise NonFiniteActivation(
            f"the picture of {names[broken[0]]} is not finite; load the model in float32 or bfloat16"
        )
    return np.asarray((array * 255).round(), dtype=np.uint8)
