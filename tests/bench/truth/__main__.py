"""`make bench-truth`: the probability per seed that a planted caption replicates its training image, by 64 seeds.

Samples are kept in tests/bench/truth/samples, and a stopped run goes on from them. It runs on a CPU or on CUDA.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from flashbulb.audit.planted.collection import PLANTED_KINDS
from flashbulb.audit.planted.truth import NUM_INFERENCE_STEPS
from tests.bench.models import ALL, folder_of
from tests.bench.truth.probabilities import compare_steps, open_sampled, page, probabilities
from tests.bench.truth.sampled import CLEAN_KINDS, SAMPLES, Sampling, sample_planted


def main() -> None:
    """Sample what is missing, and print the tables or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=tuple(ALL), default=list(ALL))
    parser.add_argument("--seeds", type=int, default=64, help="seeds of each planted caption")
    parser.add_argument("--clean", type=int, default=4, help="seeds of each clean caption")
    parser.add_argument("--steps", type=int, default=NUM_INFERENCE_STEPS, help="denoising steps of a sample")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="where samples are kept")
    parser.add_argument("--write", type=Path, help="write the page to this file")
    parser.add_argument("--plan", action="store_true", help="say how many evaluations it takes, and stop")
    arguments = parser.parse_args()
    sampling = Sampling(arguments.seeds, arguments.clean, arguments.steps, arguments.batch, arguments.device)
    if arguments.plan:
        print("\n".join(_plan(arguments.models, sampling)))
        return
    torch.backends.cudnn.allow_tf32 = False  # float32 as on a CPU
    lines = list(_lines(arguments.models, sampling, arguments.samples))
    print("\n".join(lines))
    if arguments.write:
        arguments.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _plan(names: list[str], sampling: Sampling) -> Iterator[str]:
    """Yield the evaluations of the denoiser each model takes: two a step and sample, for guidance."""
    for name in names:
        kinds = pd.read_csv(folder_of(name) / "captions.csv", keep_default_na=False)["kind"]
        n = sampling.n_seeds * kinds.isin(PLANTED_KINDS).sum() + sampling.n_clean_seeds * kinds.isin(CLEAN_KINDS).sum()
        yield f"{name}: {n} samples, {2 * sampling.num_inference_steps * n} UE"


def _lines(names: list[str], sampling: Sampling, kept: Path) -> Iterator[str]:
    models = {}
    for name in names:
        folder = folder_of(name)
        suffix = "" if sampling.num_inference_steps == NUM_INFERENCE_STEPS else f"-{sampling.num_inference_steps}"
        models[name] = open_sampled(folder, sample_planted(folder, sampling, kept / f"{name}{suffix}.parquet"))
    yield from page(models)
    for name, sampled in models.items():
        usual = kept / f"{name}.parquet"
        if sampling.num_inference_steps != NUM_INFERENCE_STEPS and usual.is_file():
            other = open_sampled(folder_of(name), pd.read_parquet(usual))
            steps = f"{sampling.num_inference_steps} steps and {NUM_INFERENCE_STEPS}"
            yield f"{name}, {steps}: {compare_steps(probabilities(sampled), probabilities(other))}"


if __name__ == "__main__":
    main()
