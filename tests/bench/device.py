"""Recording and ascents on an accelerator at the shapes of Stable Diffusion 1.5 and XL, loaded and offloaded.

The weights are random and the tokenizer is a toy: speed and memory depend on neither.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from flashbulb.audit.additions.released import CONFIGS
from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.model.calls import network_of
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.hooks import capture
from flashbulb.hooks.offload import OFFLOADS, offload_
from tests.bench.speed.ratios import calls_of
from tests.toy import build_toy_tokenizer

SHAPES = {"SD 1.5": "stable-diffusion-1", "SDXL": "stable-diffusion-xl"}
BATCH, N_SEEDS, N_ASCENT_STEPS = 32, 4, 3


def main() -> None:
    """Print a line a shape and a way of keeping its weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--ways", nargs="*", choices=("loaded", *OFFLOADS), default=("loaded", *OFFLOADS))
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    prompts = [f"picture number {i} of a house" for i in range(arguments.prompts)]
    print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    for shape in arguments.shapes:
        rows: dict[str, Tensor] = {}
        for way in arguments.ways:
            torch.cuda.empty_cache()
            denoiser = open_denoiser(build(SHAPES[shape], arguments.device, way))
            figures = measure(denoiser, prompts, rows, arguments.repeats)
            print(json.dumps({"shape": shape, "weights": way, **figures}), flush=True)
            del denoiser


def build(kind: str, device: str, way: Any) -> Any:
    """Return a pipeline in float16 with the configs of a release; offloaded in a way, or loaded."""
    torch.manual_seed(0)

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


def measure(denoiser: Denoiser, prompts: list[str], rows: dict[str, Tensor], n_repeats: int) -> dict[str, Any]:
    """Time recording beside the bare network at one batch size, then ascents; `rows` are those of the loaded model."""
    sites = denoiser.sites(denoiser.site_kinds())
    timestep = denoiser.first_timestep(50)
    with peak() as memory:
        recorder = Recorder(denoiser, sites, (), Plan(0, N_SEEDS, timestep, BATCH, 256))

        def whole() -> dict[str, Tensor]:
            prompt_rows, encoded = recorder.record_prompt_sites(prompts)
            return {**prompt_rows, **recorder.record_step_sites(encoded)[0]}

        recorded = whole()
        _, encoded = recorder.record_prompt_sites(prompts)
        calls = calls_of(denoiser, recorder, encoded)

        def bare() -> None:
            with torch.no_grad():
                for latents, keywords in calls:
                    network_of(denoiser.pipe)(latents, timestep, **keywords)

        bare()
        times = alternate([bare, lambda: recorder.record_step_sites(encoded), whole], n_repeats)
    n_latents = len(prompts) * N_SEEDS
    values = {name: value.float().cpu() for name, value in recorded.items()}
    if not rows:
        rows.update(values)
    deviation = max(
        float((values[name] - row).abs().max() / row.abs().max().clamp_min(1e-6)) for name, row in rows.items()
    )
    with peak() as ascent_memory:
        seconds = ascend(denoiser, timestep)
    with peak() as sampling_memory:
        started = time.perf_counter()
        denoiser.sample_prompts(prompts[:4], range(4), run_seed=0, num_inference_steps=4, guidance_scale=3.0)
        sampled = time.perf_counter() - started
    return {
        "bare UE/s": round(n_latents / times[0], 1),
        "step sites / bare": round(times[1] / times[0], 3),
        "whole recording / bare": round(times[2] / times[0], 3),
        "prompts/s": round(len(prompts) / times[2], 2),
        "recording GiB": memory[0],
        "largest deviation from loaded": deviation,
        "ascent steps/s of one prompt": round(1 / seconds, 2),
        "ascent GiB": ascent_memory[0],
        "4 images of 4 steps, s": round(sampled, 2),
        "sampling GiB": sampling_memory[0],
    }


def alternate(runs: list[Callable[[], Any]], n_repeats: int) -> list[float]:
    """Return the median seconds of each run, taken in turns."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(n_repeats):
        for run, taken in zip(runs, seconds, strict=True):
            torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def ascend(denoiser: Denoiser, timestep: float) -> float:
    """Return the seconds of a step of an ascent on the feed-forward neurons, for one start.

    It is the difference between a long and a short ascent, lost in noise where weights move before each.
    """
    modules = denoiser.modules(denoiser.sites(["feed_forward"]))

    def objective(latents: Tensor, conditioning: Conditioning, _rows: slice) -> Tensor:
        with capture(modules, "input") as read:
            denoiser.predict(latents, timestep, conditioning)
        return torch.stack([values[0].abs().amax(dim=1).float().mean(dim=1) for values in read.values()]).mean(dim=0)

    def run(n_steps: int) -> float:
        plan = ClimbPlan(n_steps, 0.005, 0.3, "token_embeddings", 1, False)
        torch.cuda.synchronize()
        started = time.perf_counter()
        climb(denoiser, denoiser.encode(["a red star"]), objective, plan, [torch.Generator().manual_seed(0)])
        torch.cuda.synchronize()
        return time.perf_counter() - started

    run(1)
    return (run(1 + N_ASCENT_STEPS) - run(1)) / N_ASCENT_STEPS


@contextmanager
def peak() -> Iterator[list[float]]:
    """Yield a list that holds the largest GiB that tensors took on the device, when the block is left."""
    held: list[float] = []
    torch.cuda.reset_peak_memory_stats()
    yield held
    held.append(round(torch.cuda.max_memory_allocated() / 2**30, 2))


if __name__ == "__main__":
    main()
