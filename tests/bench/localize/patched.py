"""Does patching give the same verdict in few and in many steps, beside what other seeds change?

`python -m tests.bench.localize.patched` prints, for each memory and number of steps, how many samples of each group of
seeds show the memory in a clean prompt.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import pandas as pd

from flashbulb.audit.localize.attribution import AttributionPlan, Attributor, average_neurons
from flashbulb.audit.localize.effects import count_patched, sample_and_record
from flashbulb.audit.localize.localizer import controls_of
from flashbulb.audit.localize.selection import make_neuron_set, rank_neurons
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import MOST_CONTROLS
from tests.bench.localize.__main__ import N_USUAL, SAMPLING, SETTINGS, clean_prompts, read_planted_memories
from tests.bench.localize.shorter import LONG_STEPS
from tests.bench.models import MODELS
from tests.bench.outcomes import Bench, open_bench

EVERY = {"embedded": 9, "catalogue": 10}
STEPS = (SETTINGS.sample_steps, 12, LONG_STEPS)
N_GROUPS = 4

Counts = Mapping[int, Sequence[int]]
"""Samples of each group that show the memory, by the steps of a sample."""


def main(names: Sequence[str]) -> None:
    """Print a line a memory, then how far verdicts agree."""
    found = []
    with computing():
        for name in names:
            for prompt, counts in count_groups(open_bench(MODELS[name]), EVERY[name]):
                found.append(counts)
                print(f"{name}: {prompt}: {dict(counts)}", flush=True)
    for n_steps in STEPS:
        print(f"{n_steps} steps: {sum(sum(counts[n_steps]) for counts in found)} samples show the memory")
    for line in agreement(found, SETTINGS.n_samples):
        print(line)


def count_groups(bench: Bench, every: int) -> Iterator[tuple[str, Counts]]:
    """Yield some memories' prompts with their counts; the second group is that of `localize`."""
    denoiser, (kind, share) = bench.denoiser, (SETTINGS.kind, SETTINGS.share)
    sites, clean = denoiser.sites([kind]), clean_prompts(bench)[:MOST_CONTROLS]
    plan = AttributionPlan(0, denoiser.first_timestep(50), SETTINGS.n_seeds, SETTINGS.n_points, SETTINGS.batch_size)
    attributor = Attributor(denoiser, sites, plan)
    reference = pd.read_csv(bench.folder / "reference.csv", keep_default_na=False)["prompt"].tolist()
    usual = average_neurons(attributor.attribute(reference[-N_USUAL:]))
    for memory in read_planted_memories(bench)[::every]:
        (attribution,) = attributor.attribute([memory.prompt])
        ranked = rank_neurons({name: x - usual[name] for name, x in attribution.neurons.items()}, sites)
        neurons = make_neuron_set(ranked[: round(share * len(ranked))], None, "bench")
        control = controls_of(memory, clean, 1)[0]
        counts: dict[int, list[int]] = {}
        for n_steps in STEPS:
            for group in range(N_GROUPS):
                first = group * SAMPLING.n_samples
                sampling = replace(SAMPLING, num_inference_steps=n_steps, first_index=first)
                _, recording = sample_and_record(denoiser, memory.prompt, sampling, neurons)
                n_patched = count_patched(denoiser, control, recording, memory.image, sampling)
                counts.setdefault(n_steps, []).append(n_patched)
        yield memory.prompt, counts


def agreement(found: Sequence[Counts], n_samples: int) -> Iterator[str]:
    """Yield how often fewest and most steps agree on the same seeds, and most steps with themselves on others."""
    same, pairs = list[bool](), list[bool]()
    for counts in found:
        few, many = ([2 * count >= n_samples for count in counts[n]] for n in (min(counts), max(counts)))
        same += [a is b for a, b in zip(few, many, strict=True)]
        pairs += [a is b for a, b in combinations(many, 2)]
    yield f"few and many steps, same seeds: {sum(same)} of {len(same)} verdicts are the same"
    yield f"many steps, other seeds: {sum(pairs)} of {len(pairs)} pairs are the same"


if __name__ == "__main__":
    main(sys.argv[1:] or list(EVERY))
