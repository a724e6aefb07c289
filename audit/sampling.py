"""Sample pictures from a pipeline so that each depends on its prompt and seed alone, not on its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

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
    generators = [sample_generator(run_seed, p, i) for p, i in zip(prompts, image_indices, strict=True)]
    output = pipe(
        prompt=list(prompts),
        generator=generators,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="np",
    )
    images = np.asarray(output.images)  # [picture, height, width, 3] in [0, 1]
    broken = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if broken.size:
        raise NonFiniteActivation(
            f"the picture of prompt {prompts[broken[0]]!r}, image {image_indices[broken[0]]} is not finite; "
            "load the model in float32 or bfloat16"
        )
    return np.asarray((images * 255).round(), dtype=np.uint8)
