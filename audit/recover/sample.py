"""Plain sampling of a prompt with several seeds: the first rung of recovery, and its evidence (Carlini et al.)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from audit.evidence import Picture, Pictures
from audit.png import save_png
from audit.sampling import sample_pictures

_METADATA_KEY = "engram"
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)  # as Pillow says


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """How prompts are sampled; all of it is written into each picture's metadata."""

    run_seed: int
    n_samples: int
    num_inference_steps: int
    guidance_scale: float

    @property
    def evaluations(self) -> int:
        """UE of one prompt: every step evaluates a conditional and an unconditional latent."""
        return self.n_samples * self.num_inference_steps * (2 if self.guidance_scale > 1 else 1)


def sample_prompts(pipe: Any, prompts: Sequence[str], plan: SamplePlan) -> list[Pictures]:
    """Sample every prompt with every seed, in one batch: for each prompt [seed, height, width, 3]."""
    texts = [prompt for prompt in prompts for _ in range(plan.n_samples)]
    indices = list(range(plan.n_samples)) * len(prompts)
    pictures = sample_pictures(
        pipe,
        texts,
        indices,
        run_seed=plan.run_seed,
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
    )
    return np.split(pictures, len(prompts))


def picture_name(image_index: int) -> str:
    """File name of one sample of a prompt."""
    return f"seed-{image_index}.png"


def save_pictures(folder: Path, pictures: Pictures, prompt: str, plan: SamplePlan, fingerprint: str) -> None:
    """Write seed-0.png, seed-1.png, … whole, with prompt, seed and settings in their metadata."""
    for index, picture in enumerate(pictures):
        stated = {**_metadata(prompt, plan, fingerprint), "image_index": index}
        save_picture(folder / picture_name(index), picture, stated)


def save_picture(path: Path, picture: Picture, stated: Mapping[str, Any]) -> None:
    """Write one picture as a PNG, whole, with what is `stated` of it in its metadata."""
    save_png(path, picture, {_METADATA_KEY: json.dumps(dict(stated))})


def load_pictures(folder: Path, prompt: str, plan: SamplePlan, fingerprint: str) -> Pictures | None:
    """The pictures that `save_pictures` wrote for exactly this prompt, plan and model; None if any is missing."""
    pictures = []
    for index in range(plan.n_samples):
        try:
            with Image.open(folder / picture_name(index)) as image:
                stated = json.loads(getattr(image, "text", {}).get(_METADATA_KEY, "{}"))
                pictures.append(np.asarray(image.convert("RGB"), dtype=np.uint8))
        except _UNREADABLE:
            return None
        if stated != {**_metadata(prompt, plan, fingerprint), "image_index": index}:
            return None
    return np.stack(pictures)


def _metadata(prompt: str, plan: SamplePlan, fingerprint: str) -> Mapping[str, Any]:
    return {
        "prompt": prompt,
        "run_seed": plan.run_seed,
        "num_inference_steps": plan.num_inference_steps,
        "guidance_scale": plan.guidance_scale,
        "fingerprint": fingerprint,
    }
