"""Recording beside the bare networks and beside the peers' way, on one device, in turns."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from flashbulb.audit.model.calls import network_of
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.record.batch_size import find_batch_size
from flashbulb.audit.record.recorder import Plan, Recorder, Shard
from flashbulb.audit.record.rows import ShardRows
from tests.bench.device.networks import alternate
from tests.bench.device.profiled import profile_run
from tests.bench.speed.ratios import calls_of

BATCH, N_SEEDS, SCREENED = 32, 4, 64
PEERS = (
    ("one step a prompt, latents", 1, "latent", 4),
    ("as published by Wen et al., 50 steps and images", 50, "pil", 1),
)
"""Name, steps, what comes back and calls to time. The published detect_mem.py samples each prompt in 50 guided steps
and decodes four images; the paper's score of the first step needs one step."""


class Bench:
    """One model and its prompts, half of which are a shard."""

    def __init__(self, denoiser: Denoiser, n_prompts: int, n_repeats: int) -> None:
        self.denoiser, self.n_repeats = denoiser, n_repeats
        texts = [f"picture number {i} of a house" for i in range(n_prompts)]
        self.prompts = [Prompt(f"{i:016x}", text, "p.txt", i + 1, 1) for i, text in enumerate(texts)]
        self.texts = texts
        self.timestep = denoiser.first_timestep(50)
        self.recorder = self.recorder_of(BATCH)

    def recorder_of(self, batch_size: int) -> Recorder:
        plan = Plan(0, N_SEEDS, self.timestep, batch_size, 256)
        return Recorder(self.denoiser, self.denoiser.sites(self.denoiser.site_kinds()), (), plan)

    def record(self, folder: Path, n_shards: int = 1) -> None:
        """Record the prompts with Parquet, once for each shard."""
        shards = [Shard(i, tuple(self.prompts), folder, {"fingerprint": "bench"}) for i in range(n_shards)]
        self.recorder.record_shards(shards, _ignore)

    def read(self) -> ShardRows:
        """Record the prompts, without Parquet."""
        return self.recorder._read(Shard(0, tuple(self.prompts), Path(), {"fingerprint": "bench"}), _ignore)

    def bare(self) -> Callable[[], None]:
        """Return the calls of the network that recording the prompts makes, without hooks."""
        per_call = BATCH // N_SEEDS
        batches = [self.texts[i : i + per_call] for i in range(0, len(self.texts), per_call)]
        calls = [
            call for texts in batches for call in calls_of(self.denoiser, self.recorder, self.denoiser.encode(texts))
        ]

        def run() -> None:
            with torch.no_grad():
                for latents, keywords in calls:
                    network_of(self.denoiser.pipe)(latents, self.timestep, **keywords)

        return run


def measure_recording(bench: Bench, n_shards: int) -> Iterator[tuple[str, Any]]:
    """Yield figures by name: recording beside the bare network."""
    bare, recorder, per_call = bench.bare(), bench.recorder, BATCH // N_SEEDS
    encoded = [bench.denoiser.encode(bench.texts[i : i + per_call]) for i in range(0, len(bench.texts), per_call)]
    bare()
    yield "bare UE/s", len(bench.texts) * N_SEEDS / alternate([bare], 1)[0]
    read = bench.read()
    dtypes = [str(batch[next(iter(batch))].dtype) for batch in (*read.prompt, *read.step)]
    yield "batches that came in", {dtype: dtypes.count(dtype) for dtype in sorted(set(dtypes))}
    seconds = alternate([bare, bench.read], bench.n_repeats)
    yield "tier 1 without Parquet / bare", seconds[1] / seconds[0]
    seconds = alternate([bare, lambda: [recorder.record_step_sites(batch) for batch in encoded]], bench.n_repeats)
    yield "step sites, batch by batch / bare", seconds[1] / seconds[0]
    with tempfile.TemporaryDirectory() as work, utilization() as percents:
        many = alternate([lambda: bench.record(Path(work), n_shards)], 1)[0]
        megabytes = sum(path.stat().st_size for path in Path(work).rglob("*.parquet")) / 1e6
    yield f"record of {n_shards} shards with Parquet / bare", many / n_shards / seconds[0]
    yield "device utilization while it records, %", statistics.mean(percents) if percents else None
    yield "prompts/s", len(bench.texts) * n_shards / many
    yield "MB of Parquet a prompt", megabytes / len(bench.texts) / n_shards


def measure_profile(bench: Bench, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield how much of a recording without Parquet the device computes; the kernels go to `path`."""
    yield from profile_run(bench.read, path)._asdict().items()


@contextmanager
def utilization() -> Iterator[list[float]]:
    """Collect the percent of time in which the GPU ran kernels, as its driver reports it, while the context is open."""
    percents: list[float] = []
    if not torch.cuda.is_available():
        yield percents
        return
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            percents.append(torch.cuda.utilization())

    with ThreadPoolExecutor(1) as thread:
        thread.submit(look)
        try:
            yield percents
        finally:
            done.set()


def measure_screening(bench: Bench, n_peers: int) -> Iterator[tuple[str, Any]]:
    """Yield figures by name: prompt sites beside the bare text encoders, and the peers' way beside both."""
    pipe, sites, denoiser = bench.denoiser.pipe, bench.recorder.prompt_sites, bench.denoiser
    texts = [f"{text} by the sea, {i}" for i in range(8) for text in bench.texts][:SCREENED]
    runs: list[Callable[[], Any]] = [lambda: denoiser.encode(texts), lambda: sites.read(texts)]
    for run in runs:
        run()
    encode, read = alternate(runs, 2 * bench.n_repeats + 1)
    yield "tier 0 prompts/s", len(texts) / read
    yield "tier 0 / bare text encoder, throughput", encode / read

    tier_1 = alternate([bench.read], 2)[0] / len(bench.texts)
    for name, n_steps, output_type, n_calls in PEERS[:n_peers]:

        def call(n_steps: int = n_steps, output_type: str = output_type) -> None:
            pipe(
                texts[0],
                num_images_per_prompt=N_SEEDS,
                num_inference_steps=n_steps,
                guidance_scale=7.5,
                output_type=output_type,
            )

        seconds = alternate([call], n_calls)[0]
        yield f"{name}, s a prompt", seconds
        yield f"{name} / tier 1 at equal seeds", seconds / tier_1
        yield f"{name} / tier 0", seconds * len(texts) / read


def measure_batch_size(bench: Bench) -> Iterator[tuple[str, Any]]:
    """Yield what `--batch-size auto` chooses."""
    started = time.perf_counter()
    yield "batch size auto", find_batch_size(bench.recorder_of, bench.prompts, N_SEEDS, bench.denoiser.device)
    yield "batch size auto, s", time.perf_counter() - started


def _ignore(_n: int = 1, _remark: str = "") -> None: ...
