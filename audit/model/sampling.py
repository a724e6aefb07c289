"""Sample images from a pipeline, so that each depends only on its prompt and seed and not on its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from flashbulb.audit.images.distances import RgbImages
from flashbulb.hooks import NonFiniteActivation

ALTERS_IMAGES = ("requires_safety_checker", "add_watermarker")
"""Switches of pipelines that are set off: they replace images, or mark them where a package is installed."""


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
    **arguments: int,
) -> RgbImages:
    """Sample an image for each pair of prompt and image index, in one batch: [image, height, width, 3].

    Args:
        arguments: further arguments of the pipeline's call, such as its height and width.

    Raises:
        NonFiniteActivation: an image has a value that is not finite, as float16 decoders produce.
    """
    output = pipe(
        prompt=list(prompts),
        generator=[sample_generator(run_seed, p, i) for p, i in zip(prompts, image_indices, strict=True)],
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="np",
        **arguments,
    )
    names = [f"prompt {p!r}, image {i}" for p, i in zip(prompts, image_indices, strict=True)]
    return _as_images(output.images, names)


def in_batches(call: Callable[[slice], Any], n: int, batch_size: int, what: str) -> RgbImages:
    """Call a pipeline on `n` rows, some at a time; `what` names a row in errors.

    Returns:
        Images [row, height, width, 3].

    Raises:
        NonFiniteActivation: as `sample_images`.
    """
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
    return np.ascontiguousarray((array * 255).round(), dtype=np.uint8)  # as they are read back
