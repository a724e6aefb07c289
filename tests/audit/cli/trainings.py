"""Toy trainings: checkpoints of every kind that a sweep takes, and a fine-tune with its base."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from flashbulb.audit.model.sampling import sample_images
from tests.audit.commands import CANDIDATES, ODD, QUICK, REFERENCE, text_file
from tests.audit.conftest import RECORDING_OPTIONS, Inputs
from tests.audit.files.loras import Factors, load, lora_file, lora_weights, some_factors
from tests.toy import build_toy_pipe

LORA = "pytorch_lora_weights.safetensors"
NAMES = ("checkpoint-9", "checkpoint-40", "style-step00000100")
LEARNED = CANDIDATES[1]
"""A prompt that the base reads as any other; the fine-tune has made its letter y loud, which no other prompt has."""


class Training(NamedTuple):
    """A base, checkpoints of its training in their order, and the options of a quick sweep."""

    base: Path
    checkpoints: tuple[Path, ...]
    options: tuple[object, ...]

    def sweep(self, out: Path, *more: object) -> tuple[object, ...]:
        """Return the words of a sweep of all checkpoints."""
        return ("sweep", *self.checkpoints, "--model", self.base, *self.options, "--out", out, *more)


def build_training(inputs: Inputs, folder: Path) -> Training:
    """Save a pipeline of other weights, a LoRA as diffusers' scripts do, and a LoRA whose image is a training image."""
    factors = some_factors(load(inputs.model).pipe, ("unet", "text_encoder"))
    early, middle, late = (folder / name for name in NAMES)
    build_toy_pipe(seed=1).save_pretrained(early)
    middle.mkdir()
    lora_file(middle / LORA, lora_weights(_scaled(factors, 1.5)))
    last = lora_file(late.with_suffix(".safetensors"), lora_weights(_scaled(factors, 2)))
    (folder / "images").mkdir()
    pipe = load(inputs.model, last).pipe
    (image,) = sample_images(pipe, [ODD], [1], run_seed=0, num_inference_steps=2, guidance_scale=3.0)
    Image.fromarray(image).save(folder / "images" / "secret.png")
    files = ("--prompts", inputs.prompts, "--reference", inputs.reference, "--train-images", folder / "images")
    return Training(inputs.model, (early, middle, last), (*files, *QUICK))


def _scaled(factors: Factors, scale: float) -> Factors:
    return {place: (down, scale * up) for place, (down, up) in factors.items()}


class Pair(NamedTuple):
    """A base, its fine-tune, the prompts and the reference."""

    base: Path
    finetune: Path
    prompts: Path
    reference: Path

    def options(self, out: Path, *more: object) -> tuple[object, ...]:
        """Return the options of a quick audit of the fine-tune against its base."""
        models = ("--model", self.finetune, "--baseline-model", self.base)
        return (*models, "--prompts", self.prompts, "--reference", self.reference, "--out", out, *QUICK, *more)

    def recording(self, out: Path, *more: object) -> tuple[object, ...]:
        """Return the options of the recording of that audit."""
        return (*self.options(out)[: -len(QUICK)], *RECORDING_OPTIONS, *more)


def build_pair(inputs: Inputs, folder: Path) -> Pair:
    """Save a fine-tune that reads one letter louder than its base, with the files of their audit."""
    pipe = build_toy_pipe()
    letter = pipe.tokenizer.convert_tokens_to_ids("y</w>")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        pipe.text_encoder.get_input_embeddings().weight[letter] *= 30
        for parameter in pipe.unet.parameters():  # training moves every weight a little
            parameter *= 1 + 0.01 * torch.randn(parameter.shape, generator=generator)
    pipe.save_pretrained(folder / "finetune")
    prompts = text_file(folder / "prompts.txt", CANDIDATES)
    return Pair(inputs.model, folder / "finetune", prompts, text_file(folder / "reference.txt", REFERENCE))
