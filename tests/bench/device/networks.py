"""Networks of released shapes with random weights, and seconds of runs in turns."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from flashbulb.audit.additions.released import CONFIGS
from flashbulb.hooks.offload import offload_
from tests.toy import build_toy_pipe, build_toy_tokenizer

SHAPES = {"SD 1.5": "stable-diffusion-1", "SDXL": "stable-diffusion-xl", "toy": "toy"}


def build(kind: str, device: str, way: Any) -> Any:
    """Return a pipeline in float16 with the configs of a release; offloaded in a way, or loaded."""
    torch.manual_seed(0)
    if kind == "toy":  # to try the bench without a GPU
        return build_toy_pipe().to(device)

    def config(part: str) -> Any:
        return json.loads((CONFIGS / kind / part / "config.json").read_text())

    def encoder(part: str, encoder_class: Any) -> Any:
        settings = CLIPTextConfig(**{**config(part), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1})
        return encoder_class(settings).eval()

    torch.set_default_dtype(torch.float16)
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(config("unet")).eval()
        vae = AutoencoderKL.from_config(config("vae")).eval()
        first = encoder("text_encoder", CLIPTextModel)
        second = encoder("text_encoder_2", CLIPTextModelWithProjection) if "xl" in kind else None
    torch.set_default_dtype(torch.float32)
    tokenizer = build_toy_tokenizer()
    tokenizer.model_max_length = 77
    schedule = json.loads((CONFIGS / kind / "scheduler" / "scheduler_config.json").read_text())
    if second is not None:
        scheduler = EulerDiscreteScheduler.from_config(schedule)
        pipe = StableDiffusionXLPipeline(vae, first, second, tokenizer, tokenizer, unet, scheduler)
    else:
        scheduler = DDIMScheduler.from_config(schedule)
        pipe = StableDiffusionPipeline(
            vae, first, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
        )
    pipe.set_progress_bar_config(disable=True)
    if way != "loaded":
        pipe.to("cpu", silence_dtype_warnings=True)
        torch.cuda.empty_cache()
        offload_(pipe, device, way)
    return pipe


def alternate(runs: list[Callable[[], Any]], n_repeats: int) -> list[float]:
    """Return the median seconds of each run, taken in turns."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(n_repeats):
        for run, taken in zip(runs, seconds, strict=True):
            _synchronize()
            started = time.perf_counter()
            run()
            _synchronize()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
