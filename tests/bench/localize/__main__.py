"""`make bench-localize`: localization by attribution, z-score, NeMo and at random, on planted models of known truth."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.localize.attribution import AttributionPlan, Attributor, average_neurons
from flashbulb.audit.localize.effects import EffectPlan, count_replicating, is_erased, sample_edited
from flashbulb.audit.localize.localizer import LocalizationPlan, LocalizedMemory, Localizer
from flashbulb.audit.localize.memories import Memory
from flashbulb.audit.localize.recovery import count_recovered_again
from flashbulb.audit.localize.selection import RankedNeuron, make_neuron_set, rank_neurons
from flashbulb.audit.pull.pulling import ascend_towards, sample_pulled
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import MOST_CONTROLS, LocalizeSettings
from flashbulb.audit.stages.localize import recovery_plan
from flashbulb.hooks import By, NeuronSet, Site
from flashbulb.reports.bounds.rates import rate_of, rate_text
from tests.bench.localize.nemo import (
    Comparison,
    NemoResult,
    NemoStatistics,
    find_nemo_neurons,
    fit_statistics,
    mean_to_v,
)
from tests.bench.localize.shorter import LONG_STEPS, Recovery, compare
from tests.bench.models import MODELS
from tests.bench.outcomes import Bench, open_bench

SETTINGS = LocalizeSettings(run=Path())
RECOVERY = recovery_plan(SETTINGS)
SAMPLING = EffectPlan(0, SETTINGS.n_samples, SETTINGS.sample_steps, SETTINGS.guidance_scale, SETTINGS.n_samples)
N_CLEAN, N_USUAL, N_HOLDOUT, N_STRANGERS = 32, 32, 100, 2
PARTS = ("default", "peers", "fewest", "again", "shorter")


def main() -> None:
    """Print a page a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=4, help="peers and costly tests take every so many memories")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("models", nargs="*", default=["embedded", "catalogue"])
    arguments = parser.parse_args()
    for name in arguments.models:
        with computing():
            for line in measure(open_bench(MODELS[name]), arguments.every, arguments.part or PARTS):
                print(f"{name}: {line}", flush=True)


def read_planted_memories(bench: Bench) -> list[Memory]:
    """Return every memorized caption with its planted image."""
    chosen = bench.truth.captions[bench.truth.captions["label"] == "memorized"]
    images = {name: bench.truth.images[i] for i, name in enumerate(bench.truth.names)}
    return [
        Memory(f"{i:016x}", caption, name, images[name])
        for i, (caption, name) in enumerate(zip(chosen["prompt"], chosen["picture"], strict=True))
    ]


def measure(bench: Bench, every: int, parts: Sequence[str]) -> Iterator[str]:
    """Lines of one model's page."""
    denoiser, memories = bench.denoiser, read_planted_memories(bench)
    sites, few = denoiser.sites([SETTINGS.kind]), memories[::every]
    plan = AttributionPlan(0, denoiser.first_timestep(50), SETTINGS.n_seeds, SETTINGS.n_points, SETTINGS.batch_size)
    attributor = Attributor(denoiser, sites, plan)
    reference = pd.read_csv(bench.folder / "reference.csv", keep_default_na=False)["prompt"].tolist()
    clean_attribution = average_neurons(attributor.attribute(reference[-N_USUAL:]))
    default = LocalizationPlan(SETTINGS.share, 0, SETTINGS.by, SAMPLING, SETTINGS.n_controls, None)

    def localizer(clean: Sequence[str], plan: LocalizationPlan) -> Localizer:
        return Localizer(denoiser, sites, attributor, clean, clean_attribution, None, plan, "bench")

    if "default" in parts:
        yield from _default_selection(localizer(clean_prompts(bench), default), memories)
    if "peers" in parts:
        yield from _peers(bench, sites, attributor, clean_attribution, few, plan.evaluations)
    if "fewest" in parts:
        minimal = localizer([], dataclasses.replace(default, n_checks=SETTINGS.n_checks, n_controls=0))
        fewest = [minimal.localize(memory) for memory in few]
        yield _line("fewest localized neurons, selected by bisection on other seeds", fewest)
        sizes = [result.neurons.n_neurons for result in fewest]
        yield f"fewest localized neurons: median {np.median(sizes):.0f}, from {min(sizes)} to {max(sizes)}"
    if "again" in parts:
        yield from _again(bench, sites, attributor, clean_attribution, few)
    if "shorter" in parts:
        clean = clean_prompts(bench)[:MOST_CONTROLS]
        in_many = dataclasses.replace(SAMPLING, num_inference_steps=LONG_STEPS)
        many = localizer(clean, dataclasses.replace(default, sampling=in_many))
        recovery = Recovery(denoiser, SETTINGS.by, RECOVERY)
        yield from compare(localizer(clean, default), many, recovery, few, _not_memorized(bench, N_STRANGERS))


def _default_selection(localizer: Localizer, memories: Sequence[Memory]) -> Iterator[str]:
    found = [localizer.localize(memory) for memory in memories]
    yield _line(f"default selection ({found[0].neurons.n_neurons} neurons)", found)
    controls = [control for result in found for control in result.controls]
    changed = sum(control.is_changed for control in controls)
    ratio = np.mean([control.change / control.diversity for control in controls])
    yield (
        f"clean prompts changed more than seeds do: {rate_text(rate_of(changed, len(controls)))}; change is "
        f"{ratio:.2f} of the seeds' diversity in the mean"
    )
    patched = sum(2 * (result.n_patched or 0) >= result.effect.n_samples for result in found)
    yield f"memories brought into a clean prompt by patching: {patched} of {len(found)}"


def clean_prompts(bench: Bench) -> list[str]:
    clean = bench.captions.loc[bench.captions["kind"].isin(["unseen", "descriptive"]), "prompt"].tolist()
    return list(np.random.default_rng(0).permutation(clean)[:N_CLEAN].tolist())


def _line(name: str, found: Sequence[LocalizedMemory]) -> str:
    erased = sum(result.effect.is_erased for result in found)
    before, after = (np.median([result.effect.distance[i] for result in found]) for i in (0, 1))
    spread = tuple(np.median([result.effect.diversity[i] for result in found]) for i in (0, 1))
    response = np.median([result.effect.response for result in found])
    return (
        f"{name}: erased {rate_text(rate_of(erased, len(found)))}; distance {before:.2f} -> {after:.2f}, diversity "
        f"{spread[0]:.2f} -> {spread[1]:.2f}, response norm x {response:.2f}"
    )


def _peers(
    bench: Bench,
    sites: Sequence[Site],
    attributor: Attributor,
    clean_attribution: Mapping[str, Tensor],
    memories: Sequence[Memory],
    evaluations: int,
) -> Iterator[str]:
    """NeMo as the paper describes it ("seeds") and as its code compares ("unedited"), and others at equal numbers."""
    denoiser = bench.denoiser
    reference = pd.read_csv(bench.folder / "reference.csv", keep_default_na=False)["prompt"].tolist()
    statistics = fit_statistics(denoiser, reference[N_HOLDOUT:], reference[:N_HOLDOUT], 0)
    n_default = round(SETTINGS.share * sum(site.n_neurons for site in sites))
    erased: dict[str, list[bool]] = {}
    found: dict[Comparison, list[NemoResult]] = {"seeds": [], "unedited": []}
    for number, memory in enumerate(memories):
        (attribution,) = attributor.attribute([memory.prompt])
        rankings = {
            "attribution": rank_neurons({n: x - clean_attribution[n] for n, x in attribution.neurons.items()}, sites),
            "attribution, clean prompts' not taken off": rank_neurons(attribution.neurons, sites),
            "z-score": _by_z_score(bench, sites, statistics, memory.prompt),
            "random": _at_random(sites, number),
        }
        ways: list[tuple[str, NeuronSet, By]] = []
        for comparison, results in found.items():
            nemo = find_nemo_neurons(denoiser, memory.prompt, statistics, comparison)
            results.append(nemo)
            label = f"as many as NeMo ({comparison})"
            ways.append((f"{label}: NeMo", nemo.neurons, "unconditional"))
            ways.append((f"{label}: NeMo, zeroed as in the paper", nemo.neurons, "zero"))
            ways += _best(label, rankings, nemo.neurons.n_neurons)
        ways += _best(f"{n_default // 2} neurons", rankings, n_default // 2)
        ways += _best(f"{n_default} neurons", rankings, n_default)
        for name, neurons, by in ways:
            erased.setdefault(name, []).append(_erases(bench, memory, neurons, by))
    for name, erasures in sorted(erased.items()):
        yield f"erased with {name}: {sum(erasures)} of {len(erasures)}"
    for comparison, results in found.items():
        sizes, costs = [r.neurons.n_neurons for r in results], [r.evaluations for r in results]
        yield (
            f"NeMo ({comparison}): {np.median(sizes):.0f} neurons in the median, {min(sizes)} to {max(sizes)}; "
            f"{np.mean(costs):.0f} UE a prompt in the mean, {min(costs)} to {max(costs)}: "
            f"{np.mean(costs) / evaluations:.0f} times attribution's {evaluations}"
        )


def _best(label: str, rankings: Mapping[str, Sequence[RankedNeuron]], n: int) -> list[tuple[str, NeuronSet, By]]:
    return [
        (f"{label}: {name}", make_neuron_set(ranking[:n], None, ""), "unconditional")
        for name, ranking in rankings.items()
    ]


def _erases(bench: Bench, memory: Memory, neurons: NeuronSet, by: By) -> bool:
    if not neurons.n_neurons:
        return False
    sampled = sample_edited(bench.denoiser, memory.prompt, SAMPLING, bench.denoiser.ablated(neurons, by))
    return is_erased(count_replicating(sampled.images, memory.image), SAMPLING.n_samples)


def _by_z_score(bench: Bench, sites: Sequence[Site], statistics: NemoStatistics, prompt: str) -> list[RankedNeuron]:
    """|z| of mean |to_v| against the reference captions, which needs no evaluation of the denoiser."""
    own = mean_to_v(bench.denoiser, sites, bench.denoiser.encode([prompt]).conditioning)
    values = {
        name: ((activations[0].double() - statistics.mean[name]) / statistics.std[name].clamp_min(1e-9)).abs()
        for name, activations in own.items()
    }
    return rank_neurons(values, sites)


def _at_random(sites: Sequence[Site], seed: int) -> list[RankedNeuron]:
    generator = torch.Generator().manual_seed(seed)
    return rank_neurons({site.name: torch.rand(site.n_neurons, generator=generator) for site in sites}, sites)


def _again(
    bench: Bench,
    sites: Sequence[Site],
    attributor: Attributor,
    clean_attribution: Mapping[str, Tensor],
    memories: Sequence[Memory],
) -> Iterator[str]:
    """Dori's test on the ablated model, of memories and, as its control, of images that are not memorized."""
    denoiser, n = bench.denoiser, round(SETTINGS.share * sum(site.n_neurons for site in sites))
    back = {"memories": 0, "images of no memory": 0, "images of no memory, nothing ablated": 0}
    strangers = _not_memorized(bench, len(memories))
    for memory, stranger in zip(memories, strangers, strict=True):
        (attribution,) = attributor.attribute([memory.prompt])
        own = {name: x - clean_attribution[name] for name, x in attribution.neurons.items()}
        neurons = make_neuron_set(rank_neurons(own, sites)[:n], None, "")
        for name, prompt, image in (
            ("memories", memory.prompt, memory.image),
            ("images of no memory", memory.prompt, stranger),
        ):
            count = count_recovered_again(denoiser, prompt, image, neurons, SETTINGS.by, RECOVERY)
            back[name] += 2 * count >= SAMPLING.n_samples
        back["images of no memory, nothing ablated"] += _comes_out(bench, memory.prompt, stranger)
    for name, count in back.items():
        yield f"pulled out by {RECOVERY.n_steps} steps after ablation, {name}: {count} of {len(memories)}"


def _not_memorized(bench: Bench, n: int) -> list[RgbImage]:
    """Planted images that no sample replicates; there may be fewer, then they repeat."""
    truth = bench.truth
    labels = truth.captions.groupby("picture")["label"].agg(set)
    names = [name for name in truth.names if labels[name] == {"not"}]
    return [truth.images[truth.names.index(names[i % len(names)])] for i in range(n)]


def _comes_out(bench: Bench, prompt: str, image: RgbImage) -> bool:
    denoiser = bench.denoiser
    found = ascend_towards(denoiser, image[None], [prompt], RECOVERY, start=prompt)
    (images,) = sample_pulled(denoiser, found, [prompt], RECOVERY)
    return 2 * count_replicating(images, image) >= SAMPLING.n_samples


if __name__ == "__main__":
    main()
