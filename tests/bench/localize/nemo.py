"""Finding NeMo's localization (Hintersdorf et al. 2024, arXiv 2406.02366), the peer that localization is compared with.

A caption's memorization score says how alike the differences ε(x_T, c) − x_T look, whatever x_T. NeMo deactivates
(sets to zero) values of cross-attention whose activation is out of distribution, more and more until the score is
low (initial selection), then activates whole layers and single neurons again where it stays low (refinement).

Taken from their code (ml-research/localizing_memorization_in_diffusion_models), at the defaults of its scripts, which
its README calls the paper's settings: 10 seeds; z-scores of mean |to_v| over all positions against reference captions;
z threshold 5, lowered by 0.25 a round to 1; in every layer also the k largest mean |to_v|, k from 0, one more a round;
difference scaled to [0, 1] a channel and compared by multi-scale SSIM, the largest comparison being the score; only
seeds whose most similar other seed exceeds the threshold count; no guidance; 50 steps, of which the first; where even
the lowest z threshold does not get the score down, refinement keeps the score reached; layers in reverse order of
execution. The threshold is the mean plus one standard deviation over clean captions (0.428 on SD 1.4).

Two things can be compared, `Comparison`: "seeds", the differences of two seeds with the neurons deactivated, the
statistic that the threshold is measured on; "unedited", each seed's difference with and without deactivation, which
is what their code holds against that threshold.

Ours: every cross-attention layer is searched (they leave out the up blocks, which are a place in one architecture);
the threshold is of the same statistic as the score, the largest pair of a caption (README: all pairs); a score equal to
the threshold is low, also in refinement (there, they ask for less); SSIM's windows are cut to small latents as in
`flashbulb.audit.detectors.one_step_agreement`.

Not taken over from their code:
- with guidance it swaps the conditional and unconditional halves (the default has none, nor have we: 1 UE a seed);
- it runs the UNet at two timesteps without stepping the scheduler and scores the second, for x_T: twice the cost;
- it denoises to read `to_v` of the prompt, which needs no UNet; it evaluates seeds that do not count;
- a neuron chosen twice (by z and by size) is listed twice, and activating one copy of it changes nothing;
- it stops before it tries the lowest z threshold, and for other steps than 0.25 by an equality that is never met;
- hooks edit outputs in place and are left behind after an error; seeds are global; layers are found by position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from flashbulb.audit.detectors.one_step_agreement import multi_scale_ssim
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import NeuronSet, Site, observe, replace_neurons

Comparison = Literal["seeds", "unedited"]
Neuron = tuple[Site, int]

N_SEEDS = 10
N_STEPS = 50
FIRST_Z, LAST_Z, Z_STEP = 5.0, 1.0, 0.25
BATCH_SIZE = 64


class NemoResult(NamedTuple):
    """The neurons of a caption after refinement and before, and what they cost in UE; none if it is not memorized."""

    neurons: NeuronSet
    initial: NeuronSet
    evaluations: int


@dataclass(frozen=True, slots=True)
class NemoStatistics:
    """What clean captions do: every neuron's mean |to_v| and the memorization score.

    Args:
        sites: in order of execution.
        mean: over reference captions, [neuron] by `site.name`.
        std: likewise, the sample standard deviation.
        latents: x_T of every seed, the same for every caption: [seed, channel, row, column].
        threshold: of the memorization score.
        evaluations: UE that the threshold took.
    """

    sites: tuple[Site, ...]
    mean: Mapping[str, Tensor]
    std: Mapping[str, Tensor]
    timestep: float
    latents: Tensor
    threshold: float
    evaluations: int


@torch.no_grad()
def fit_statistics(
    denoiser: Denoiser, reference: Sequence[str], holdout: Sequence[str], run_seed: int
) -> NemoStatistics:
    """Learn from clean captions: activations from `reference` without UE, the threshold from `holdout`, 10 UE each.

    Raises:
        ValueError: there are fewer than two captions for either.
    """
    if min(len(reference), len(holdout)) < 2:
        raise ValueError(f"a deviation needs two captions, got {len(reference)} and {len(holdout)}; give more")
    sites = denoiser.sites(["cross_v"])
    chunks = [reference[first : first + BATCH_SIZE] for first in range(0, len(reference), BATCH_SIZE)]
    chunk_means = [mean_to_v(denoiser, sites, denoiser.encode(chunk).conditioning) for chunk in chunks]
    usual = {site.name: torch.cat([chunk[site.name] for chunk in chunk_means]).double() for site in sites}
    latents, timestep = denoiser.initial_latents(run_seed, range(N_SEEDS)), denoiser.first_timestep(N_STEPS)
    before, scores, order = denoiser.evaluations, [], dict[Site, None]()
    with observe(denoiser.modules(sites), sites, lambda site, _: order.setdefault(site), len(holdout)):
        for caption in holdout:
            differences = _differences(denoiser, denoiser.encode([caption]).conditioning, latents, timestep)
            scores.append(_to_nearest_seed(differences).max())
    score = torch.stack(scores).double()
    return NemoStatistics(
        sites=tuple(order),
        mean={name: values.mean(dim=0) for name, values in usual.items()},
        std={name: values.std(dim=0) for name, values in usual.items()},
        timestep=timestep,
        latents=latents,
        threshold=float(score.mean() + score.std()),
        evaluations=denoiser.evaluations - before,
    )


@torch.no_grad()
def find_nemo_neurons(
    denoiser: Denoiser, caption: str, statistics: NemoStatistics, comparison: Comparison
) -> NemoResult:
    """Localize a caption's memory: initial selection, then refinement. 10 UE at least, 1 a seed and set tried."""
    before, conditioning = denoiser.evaluations, denoiser.encode([caption]).conditioning
    unedited = _differences(denoiser, conditioning, statistics.latents, statistics.timestep)
    counts = _to_nearest_seed(unedited) > statistics.threshold  # [seed]
    if not counts.any():
        return NemoResult(NeuronSet({}), NeuronSet({}), denoiser.evaluations - before)
    memory = _Memory(denoiser, statistics, comparison, conditioning, statistics.latents[counts], unedited[counts])
    initial, threshold = _initial_selection(memory)
    refined = _refined(memory, initial, threshold)
    return NemoResult(_neuron_set(refined), _neuron_set(initial), denoiser.evaluations - before)


@dataclass(frozen=True, slots=True)
class _Memory:
    """A memorized caption at the seeds that count, whose memorization score is asked again and again."""

    denoiser: Denoiser
    statistics: NemoStatistics
    comparison: Comparison
    conditioning: Conditioning  # one row
    latents: Tensor  # [seed, channel, row, column]
    unedited: Tensor  # like `latents`

    def score(self, neurons: Collection[Neuron]) -> float:
        """The memorization score with the neurons deactivated."""
        zeroed = _neuron_set(neurons).neurons
        sites = [site for site in self.statistics.sites if site.name in zeroed]
        modules = self.denoiser.modules(sites)
        with replace_neurons(modules, sites, zeroed, lambda _site, activation: activation.new_zeros(())):
            edited = _differences(self.denoiser, self.conditioning, self.latents, self.statistics.timestep)
        similarity = _to_nearest_seed(edited) if self.comparison == "seeds" else multi_scale_ssim(self.unedited, edited)
        return float(similarity.max())


def _initial_selection(memory: _Memory) -> tuple[list[Neuron], float]:
    """The first set of unusual neurons that gets the score down to the threshold, or all with the score reached."""
    n_rounds = round((FIRST_Z - LAST_Z) / Z_STEP) + 1
    statistics, neurons, score = memory.statistics, list[Neuron](), float("inf")
    activations = mean_to_v(memory.denoiser, statistics.sites, memory.conditioning)
    for n_largest in range(n_rounds):
        neurons = _unusual(activations, statistics, FIRST_Z - n_largest * Z_STEP, n_largest)
        if not neurons:
            continue
        score = memory.score(neurons)
        if score <= statistics.threshold:
            return neurons, statistics.threshold
    return neurons, score


def _unusual(
    activations: Mapping[str, Tensor], statistics: NemoStatistics, z_threshold: float, n_largest: int
) -> list[Neuron]:
    """Neurons whose z-score exceeds the threshold, and the largest of every site."""
    unusual = []
    for site in statistics.sites:
        (values,) = activations[site.name].double()  # [1, neuron] -> [neuron]
        distance, std = (values - statistics.mean[site.name]).abs(), statistics.std[site.name]
        chosen = (distance > z_threshold * std) & (std > 0)  # a constant neuron has no scale
        chosen[values.topk(min(n_largest, site.n_neurons)).indices] = True
        unusual += [(site, neuron) for neuron in chosen.nonzero().flatten().tolist()]
    return unusual


def _refined(memory: _Memory, initial: Sequence[Neuron], threshold: float) -> list[Neuron]:
    """What stays deactivated once all layers, then all neurons, are activated again that leave the score low."""
    kept = list(initial)
    for site in reversed(memory.statistics.sites):
        without = [neuron for neuron in kept if neuron[0] != site]
        if len(without) < len(kept) and _is_low(memory, without, threshold):
            kept = without
    for site in reversed(memory.statistics.sites):
        for neuron in [neuron for neuron in kept if neuron[0] == site]:
            without = [other for other in kept if other != neuron]
            if _is_low(memory, without, threshold):
                kept = without
    return kept


def _is_low(memory: _Memory, neurons: Sequence[Neuron], threshold: float) -> bool:
    return memory.score(neurons) <= threshold


def _neuron_set(neurons: Collection[Neuron]) -> NeuronSet:
    names = dict.fromkeys(site.name for site, _ in neurons)
    return NeuronSet({name: tuple(sorted(n for site, n in neurons if site.name == name)) for name in names})


@torch.no_grad()
def mean_to_v(denoiser: Denoiser, sites: Sequence[Site], conditioning: Conditioning) -> dict[str, Tensor]:
    """Mean |to_v| over positions, [caption, neuron] by `site.name`: `to_v` reads the caption alone."""
    means: dict[str, Tensor] = {}

    def keep(site: Site, activation: Tensor) -> None:
        means[site.name] = activation.float().abs().mean(dim=1)

    with observe(denoiser.modules(sites), sites, keep):
        denoiser.run_prompt_sites(sites, conditioning)
    return means


def _differences(denoiser: Denoiser, conditioning: Conditioning, latents: Tensor, timestep: float) -> Tensor:
    """ε(x_T, c) − x_T with every channel scaled to [0, 1]: like `latents` [seed, channel, row, column]."""
    noise = denoiser.predict(latents, timestep, conditioning.repeat(len(latents))).noise
    difference = noise.float() - latents.float()
    low, high = difference.amin(dim=(2, 3), keepdim=True), difference.amax(dim=(2, 3), keepdim=True)
    return (difference - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)


def _to_nearest_seed(differences: Tensor) -> Tensor:
    """Similarity of every seed to the most similar other seed: [seed]."""
    first, second = torch.triu_indices(len(differences), len(differences), offset=1, device=differences.device)
    similarities = multi_scale_ssim(differences[first], differences[second])  # [pair]
    similarity = similarities.new_full((len(differences),) * 2, -torch.inf)
    similarity[first, second] = similarity[second, first] = similarities
    return similarity.amax(dim=1)
