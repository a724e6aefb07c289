"""Memory and time of ascents by batch size, with and without gradient checkpointing, each in a process of its own."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from flashbulb.audit.ascent.climb import ClimbPlan, climb
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.loading import flushed_denormals, load_model
from flashbulb.audit.planted.paths import MODEL
from flashbulb.hooks import capture, find_sites, site_modules

N_STEPS = 2


def main() -> None:
    """Print a line a setting, or measure one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    arguments = parser.parse_args()
    if arguments.batch is not None:
        print(measure(arguments.batch, arguments.checkpointing))
        return
    print("starts at once  checkpointing  process peak GiB  of it the ascent  seconds a step and start")
    for batch in (1, 8, 32):
        for option in ([], ["--checkpointing"]):
            command = [sys.executable, "-m", "tests.bench.ascent", "--batch", str(batch)]
            done = subprocess.run([*command, *option], check=True, capture_output=True, text=True)
            print(f"{batch:14d}  {'yes' if option else 'no':13s}  {done.stdout.strip()}", flush=True)


def measure(batch: int, checkpointing: bool) -> str:
    """Climb a few steps on the feed-forward neurons."""
    denoiser = Denoiser(load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe)
    sites = find_sites(denoiser.pipe, ["feed_forward"])
    modules = site_modules(denoiser.pipe, sites)
    timestep = 981

    def objective(latents: Tensor, prompt_embeds: Tensor, _rows: slice) -> Tensor:
        with capture({site.name: modules[site.name] for site in sites}, "input") as read:
            denoiser.predict_noise(latents, timestep, prompt_embeds)
        return torch.stack([values[0].abs().amax(dim=1).mean(dim=1) for values in read.values()]).mean(dim=0)

    plan = ClimbPlan(N_STEPS, 0.005, 0.3, "token_embeddings", batch, checkpointing)
    n_positions = denoiser.pipe.text_encoder.config.max_position_embeddings
    ids = torch.randint(3, 100, (batch, n_positions), generator=torch.Generator().manual_seed(0))
    tokens = Tokens(ids, None, torch.ones_like(ids), (False,) * batch)
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.monotonic()
    with flushed_denormals():
        climb(denoiser, tokens, objective, plan, generators)
    seconds = (time.monotonic() - started) / N_STEPS / batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{peak:16.2f}  {peak - before:16.2f}  {seconds:24.3f}"


if __name__ == "__main__":
    main()
