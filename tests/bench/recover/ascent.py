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
from flashbulb.audit.ascent.starts import random_prompts
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from flashbulb.audit.planted.paths import MODEL
from flashbulb.audit.run.torch_state import computing
from flashbulb.hooks import capture

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
            command = [sys.executable, "-m", "tests.bench.recover.ascent", "--batch", str(batch)]
            done = subprocess.run([*command, *option], check=True, capture_output=True, text=True)
            print(f"{batch:14d}  {'yes' if option else 'no':13s}  {done.stdout.strip()}", flush=True)


def measure(batch: int, checkpointing: bool) -> str:
    """Climb a few steps on the feed-forward neurons."""
    denoiser = open_denoiser(load_model(str(MODEL), device="cpu", dtype=torch.float32, allow_pickle=False).pipe)
    modules = denoiser.modules(denoiser.sites(["feed_forward"]))
    timestep = denoiser.first_timestep(50)

    def objective(latents: Tensor, conditioning: Conditioning, _rows: slice) -> Tensor:
        with capture(modules, "input") as read:
            denoiser.predict(latents, timestep, conditioning)
        return torch.stack([values[0].abs().amax(dim=1).mean(dim=1) for values in read.values()]).mean(dim=0)

    plan = ClimbPlan(N_STEPS, 0.005, 0.3, "token_embeddings", batch, checkpointing)
    prompts = denoiser.encode(random_prompts(denoiser, batch, torch.Generator().manual_seed(0)))
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.monotonic()
    with computing():
        climb(denoiser, prompts, objective, plan, generators)
    seconds = (time.monotonic() - started) / N_STEPS / batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{peak:16.2f}  {peak - before:16.2f}  {seconds:24.3f}"


if __name__ == "__main__":
    main()
