"""Recording, ascents and sampling with weights on the device and offloaded: seconds, memory and deviation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.hooks import capture
from tests.bench.device.networks import alternate
from tests.bench.speed.ratios import call_network, calls_of

BATCH, N_SEEDS, N_ASCENT_STEPS = 32, 4, 3


def measure(denoiser: Denoiser, prompts: list[str], rows: dict[str, Tensor], n_repeats: int) -> dict[str, Any]:
    """Time recording beside the bare network at one batch size, then ascents; `rows` are those of the loaded model."""
    sites = denoiser.sites(denoiser.site_kinds())
    timestep = denoiser.first_timestep(50)
    with peak() as memory:
        recorder = Recorder(denoiser, sites, (), Plan(0, N_SEEDS, timestep, BATCH, 256))

        def whole() -> dict[str, Tensor]:
            prompt_rows, encoded = recorder.prompt_sites.read(prompts)
            return {**prompt_rows, **recorder.record_step_sites(encoded)[0]}

        recorded = whole()
        _, encoded = recorder.prompt_sites.read(prompts)
        calls = calls_of(denoiser, recorder, encoded)

        def bare() -> None:
            call_network(denoiser, timestep, calls)

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
