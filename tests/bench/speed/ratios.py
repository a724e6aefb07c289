"""What recording and screening cost beside the bare networks and beside the peers' way, in turns in one process.

CPU seconds of one thread: a busy machine lengthens the wall clock, and it slows all ways alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from flashbulb.audit.model.calls import network_of
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.recorder import Plan, Recorder
from flashbulb.audit.statistics.screening import screen_prompts
from tests.bench.speed.baselines import screen_of

N_SEEDS = 4


class Ratio(NamedTuple):
    """How often `way` goes into `beside`, or the other way round; `goal` is met at or beyond it.

    Args:
        value: median over the turns; `low` and `high` are the least and the greatest.
        wants: "at most" or "at least" the goal.
    """

    name: str
    value: float
    low: float
    high: float
    wants: str
    goal: float

    @property
    def is_met(self) -> bool:
        """Whether the median reaches the goal."""
        return self.value <= self.goal if self.wants == "at most" else self.value >= self.goal


def measure_ratios(denoiser: Denoiser, prompts: Sequence[str], batch_size: int, n_turns: int) -> list[Ratio]:
    """Measure the ratios that the goals are stated for, on a model that is loaded."""
    seconds = take_turns(ways_of(denoiser, prompts, batch_size), n_turns)

    def ratio(name: str, above: str, below: str, wants: str, goal: float) -> Ratio:
        values = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
        return Ratio(name, statistics.median(values), min(values), max(values), wants, goal)

    return [
        ratio("step recorded, all sites / bare UNet, same batch", "step", "bare UNet", "at most", 1.05),
        ratio("prompt and step recorded / bare UNet, same batch", "tier 1", "bare UNet", "at most", 1.05),
        ratio("peers, a call a prompt / tier 1, equal seeds", "peers", "tier 1", "at least", 8.0),
        ratio("the pipeline's text encoding / tier 0", "encode_prompt", "tier 0", "at least", 0.85),
        ratio("Flashbulb's text encoding / tier 0", "encode", "tier 0", "at least", 0.85),
        ratio("peers, a call a prompt / tier 0", "peers", "tier 0", "at least", 30.0),
    ]


@torch.no_grad()
def ways_of(denoiser: Denoiser, prompts: Sequence[str], batch_size: int) -> dict[str, Callable[[], object]]:
    """Return the ways to read the same prompts with the same seeds, by name."""
    timestep = denoiser.first_timestep(50)
    sites = denoiser.sites(denoiser.site_kinds())
    recorder = Recorder(denoiser, sites, (), Plan(0, N_SEEDS, timestep, batch_size, 256))
    per_call = max(1, batch_size // N_SEEDS)
    batches = [list(prompts[i : i + per_call]) for i in range(0, len(prompts), per_call)]
    screens = [list(prompts[i : i + batch_size]) for i in range(0, len(prompts), batch_size)]
    screened = [Prompt(f"{i:016x}", text, "prompts", i + 1, 1) for i, text in enumerate(prompts)]
    screen = screen_of(denoiser)
    encoded = [recorder.prompt_sites.read(texts)[1] for texts in batches]
    calls = [call for batch in encoded for call in calls_of(denoiser, recorder, batch)]

    def bare_unet() -> None:
        call_network(denoiser, timestep, calls)

    def tier_1() -> None:
        for texts in screens:  # encoded together, as `Recorder.record_shards` does
            read = recorder.prompt_sites.read(texts)[1]
            for first in range(0, len(texts), per_call):
                recorder.record_step_sites(read.rows(slice(first, first + per_call)))

    def encode_prompt() -> None:
        for texts in screens:
            denoiser.pipe.encode_prompt(texts, denoiser.device, 1, False)

    def peers() -> None:
        for text in prompts:
            denoiser.pipe(
                text,
                num_images_per_prompt=N_SEEDS,
                num_inference_steps=1,
                guidance_scale=7.5,
                output_type="latent",
            )

    return {
        "bare UNet": bare_unet,
        "step": lambda: [recorder.record_step_sites(batch) for batch in encoded],
        "tier 1": tier_1,
        "encode_prompt": encode_prompt,
        "encode": lambda: [denoiser.encode(texts) for texts in screens],
        "tier 0": lambda: screen_prompts(screen, recorder, screened),
        "peers": peers,
    }


@torch.no_grad()
def call_network(denoiser: Denoiser, timestep: float, calls: Iterable[tuple[Any, Mapping[str, Any]]]) -> None:
    """Call the network alone, as `calls_of` returns."""
    for latents, keywords in calls:
        network_of(denoiser.pipe)(latents, timestep, **keywords)


def calls_of(denoiser: Denoiser, recorder: Recorder, encoded: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Return latents and keywords with which recording calls the network, for calls without hooks."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def keep(_module: Any, inputs: Any, keywords: Any) -> None:
        latents = inputs[0] if inputs else keywords["sample"]
        calls.append((latents, {k: v for k, v in keywords.items() if k not in ("sample", "timestep")}))

    handle = network_of(denoiser.pipe).register_forward_pre_hook(keep, with_kwargs=True)
    try:
        recorder.record_step_sites(encoded)
    finally:
        handle.remove()
    return calls


def take_turns(ways: Mapping[str, Callable[[], object]], n_turns: int) -> dict[str, list[float]]:
    """Run the ways in turns after a first run of each; returns the CPU seconds of each turn, by name."""
    for run in ways.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_turns):
        for name, run in ways.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    return seconds
