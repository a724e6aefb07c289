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
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.batch_size import find_batch_size
from flashbulb.audit.record.recorder import Plan, Recorder, Shard
from flashbulb.audit.record.reduction import Reduction
from flashbulb.audit.record.rows import ShardRows
from flashbulb.audit.run.progress import Advance
from flashbulb.audit.statistics.screening import screen_prompts
from tests.bench.device.networks import alternate
from tests.bench.device.profiled import profile_run
from tests.bench.speed.baselines import reduction_of, screen_of
from tests.bench.speed.ratios import calls_of

BATCH, N_SEEDS, SCREENED = 32, 4, 512
WORK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # not the speed of a disk
PEERS = (
    ("one step a prompt, latents", 1, "latent", 5),
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
        self._seconds: dict[str, float] = {}

    def seconds_of(self, run: str) -> float:
        """Return the seconds of all prompts: by the "bare" network, "read" without Parquet, or "step" sites alone."""
        if not self._seconds:
            runs = {"bare": self.bare(), "read": self.read, "step": self.step()}
            self._seconds = dict(zip(runs, alternate(list(runs.values()), self.n_repeats), strict=True))
        return self._seconds[run]

    def step(self) -> Callable[[], object]:
        """Return what records the step sites alone, each batch waited for."""
        per_call = BATCH // N_SEEDS
        encoded = [self.denoiser.encode(self.texts[i : i + per_call]) for i in range(0, len(self.texts), per_call)]
        return lambda: [self.recorder.record_step_sites(batch) for batch in encoded]

    def recorder_of(self, batch_size: int) -> Recorder:
        plan = Plan(0, N_SEEDS, self.timestep, batch_size, 256)
        return Recorder(self.denoiser, self.denoiser.sites(self.denoiser.site_kinds()), (), plan)

    def record(self, folder: Path, n_shards: int, reduction: Reduction | None, advance: Advance) -> None:
        """Record the prompts with Parquet, once for each shard."""
        shards = [Shard(i, tuple(self.prompts), folder, {"fingerprint": "bench"}, reduction) for i in range(n_shards)]
        self.recorder.record_shards(shards, advance)

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


def measure_recording(bench: Bench) -> Iterator[tuple[str, Any]]:
    """Yield figures by name: recording beside the bare network."""
    warm = Bench(bench.denoiser, BATCH // N_SEEDS, 1)
    warm.bare()()
    dtypes = [str(batch[next(iter(batch))].dtype) for rows in [warm.read()] for batch in (*rows.prompt, *rows.step)]
    yield "batches that came in", {dtype: dtypes.count(dtype) for dtype in sorted(set(dtypes))}
    bare = bench.seconds_of("bare")
    yield "bare UE/s", len(bench.texts) * N_SEEDS / bare
    yield "prompt and step sites / bare", bench.seconds_of("read") / bare
    yield "step sites, batch by batch / bare", bench.seconds_of("step") / bare


def measure_writing(bench: Bench, n_shards: int, layout: str) -> Iterator[tuple[str, Any]]:
    """Yield figures by name: recording with Parquet in a layout beside the bare network.

    The first shard has nothing behind it, and behind the last one nothing is computed; between their ends, recording
    goes on as it does over many shards.
    """
    times: list[float] = []

    def advance(n: int = 1, _remark: str = "") -> None:
        times.extend([time.perf_counter()] * n)

    seconds = bench.seconds_of("bare")
    with tempfile.TemporaryDirectory(dir=WORK) as work:
        reduction = reduction_of(bench.denoiser, Path(work) / "b", N_SEEDS) if layout == "bulk" else None
        with utilization() as percents:
            whole = alternate([lambda: bench.record(Path(work), n_shards, reduction, advance)], 1)[0]
        megabytes = sum(path.stat().st_size for path in Path(work).rglob("*.parquet")) / 1e6
    n, amid = len(bench.texts), (times[-1] - times[len(bench.texts) - 1]) / (n_shards - 1)
    yield "one more shard / bare", amid / seconds
    yield f"{n_shards} shards, first and last included / bare", whole / n_shards / seconds
    yield "prompts/s", n / amid
    yield "device utilization, %", statistics.mean(percents) if percents else None
    yield "MB of Parquet a prompt", megabytes / n / n_shards


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
    """Yield figures by name: tier 0 with its scores beside the bare text encoders, and the peers' way beside both."""
    pipe, denoiser, size = bench.denoiser.pipe, bench.denoiser, BATCH * 4
    texts = [f"a house at {i}{' by the sea' * (i % 4 == 0)}" for i in range(SCREENED)]
    prompts = [Prompt(f"{i:016x}", text, "p.txt", i + 1, 1) for i, text in enumerate(texts)]
    batches = [texts[i : i + size] for i in range(0, len(texts), size)]
    screen = screen_of(denoiser)

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                pipe.encode_prompt(
                    batch, device=denoiser.device, do_classifier_free_guidance=False, num_images_per_prompt=1
                )

    def encode() -> None:
        for batch in batches:
            denoiser.encode(batch)

    def networks() -> None:
        with torch.no_grad():
            for ids in tokens:
                for name, module in denoiser.text.modules.items():
                    module(ids[name], output_hidden_states=True)

    tokens = [denoiser.encode(batch).input_ids for batch in batches]
    runs = [bare, encode, networks, lambda: screen_prompts(screen, bench.recorder, prompts)]
    for run in runs:
        run()
    seconds = alternate(runs, bench.n_repeats + 1)
    n_tokens = denoiser.text.tokenize(texts).n_positions.float()
    yield "tokens a prompt, mean and most", f"{float(n_tokens.mean()):.1f} and {int(n_tokens.max())}"
    yield "tier 0 prompts/s", len(texts) / seconds[3]
    yield "tier 0 / the pipeline's encode_prompt, throughput", seconds[0] / seconds[3]
    yield "tier 0 / Flashbulb's encode, throughput", seconds[1] / seconds[3]
    yield "tier 0 / text encoders on tokens that are ready, throughput", seconds[2] / seconds[3]

    tier_1 = bench.seconds_of("read") / len(bench.texts)
    for name, n_steps, output_type, n_calls in PEERS[:n_peers]:

        def call(n_steps: int = n_steps, output_type: str = output_type) -> None:
            pipe(
                texts[0],
                num_images_per_prompt=N_SEEDS,
                num_inference_steps=n_steps,
                guidance_scale=7.5,
                output_type=output_type,
            )

        taken = alternate([call], n_calls)[0]
        yield f"{name}, s a prompt", taken
        yield f"{name} / tier 1 at equal seeds", taken / tier_1
        yield f"{name} / tier 0", taken * len(texts) / seconds[3]


def measure_batch_size(bench: Bench) -> Iterator[tuple[str, Any]]:
    """Yield what `--batch-size auto` chooses."""
    started = time.perf_counter()
    yield "batch size auto", find_batch_size(bench.recorder_of, bench.prompts, N_SEEDS, bench.denoiser.device)
    yield "batch size auto, s", time.perf_counter() - started


def _ignore(_n: int = 1, _remark: str = "") -> None: ...
