"""What the published detect_mem.py of Wen et al. does with each prompt: `python -m tests.bench.speed.peers`.

It loads the pipeline, gives it a DDIM scheduler, and calls it once a prompt with guidance, keeping the norm of the
text's part of each prediction (YuxinWenRick/diffusion_memorization). By default that script takes 50 steps and four
images a prompt, and decodes them. In one step, without images, only the paper's score of the first step is left.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

GUIDANCE_SCALE = 7.5


def main(model: str, prompts: str, out: str, n_images: str, n_steps: str) -> None:
    """Write a line of JSON a prompt; images are decoded if there is more than one step."""
    pipe: Any = StableDiffusionPipeline.from_pretrained(
        model, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )  # weights are stored in half precision
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    norms: list[list[float]] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        unconditional, conditional = output[0].chunk(2)
        norms.append([float(row.norm(p=2)) for row in conditional - unconditional])

    pipe.unet.register_forward_hook(keep)
    with Path(prompts).open(newline="") as file, Path(out).open("w") as lines:
        for seed, row in enumerate(csv.DictReader(file)):
            torch.manual_seed(seed)
            norms.clear()
            pipe(
                row["prompt"],
                num_inference_steps=int(n_steps),
                guidance_scale=GUIDANCE_SCALE,
                num_images_per_prompt=int(n_images),
                output_type="latent" if n_steps == "1" else "pil",
            )
            lines.write(json.dumps({"prompt": row["prompt"], "text_noise_norm": norms}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
