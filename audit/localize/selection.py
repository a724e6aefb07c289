"""Select neurons: rank them by attribution, and find how few of the ranking suffice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import NeuronSet, Site, record


class RankedNeuron(NamedTuple):
    """A neuron and the value that it is ranked by, such as its attribution."""

    site: str
    neuron: int
    value: float


def rank_neurons(values: Mapping[str, Tensor], sites: Sequence[Site]) -> list[RankedNeuron]:
    """Rank all neurons of `sites`, highest value first; equal values keep the order of the sites.

    Args:
        values: [neuron] by `site.name`.
    """
    joined = torch.cat([values[site.name] for site in sites])
    neurons = [(site.name, neuron) for site in sites for neuron in range(site.n_neurons)]
    order = joined.argsort(descending=True, stable=True).tolist()
    return [RankedNeuron(neurons[i][0], neurons[i][1], float(joined[i])) for i in order]


def make_neuron_set(ranked: Sequence[RankedNeuron], means: Mapping[str, Tensor] | None, fingerprint: str) -> NeuronSet:
    """Collect ranked neurons into a set that `flashbulb.hooks.ablate` accepts.

    Args:
        means: reference mean of every neuron, [neuron] by `site.name`.
    """
    neurons: dict[str, tuple[int, ...]] = {}
    for name in dict.fromkeys(entry.site for entry in ranked):
        neurons[name] = tuple(sorted(entry.neuron for entry in ranked if entry.site == name))
    if means is None:
        return NeuronSet(neurons, None, fingerprint)
    selected_means = {name: tuple(means[name][list(numbers)].tolist()) for name, numbers in neurons.items()}
    return NeuronSet(neurons, selected_means, fingerprint)


def bisect_fewest(is_enough: Callable[[int], bool], n_enough: int, n_checks: int) -> int:
    """Return the smallest number known to be enough after at most `n_checks` bisections between 0 and `n_enough`.

    Bisection assumes that more neurons of a ranking have at least the effect of fewer. If they do not, the result is
    still `n_enough` or a number for which `is_enough` returned True.
    """
    too_few = 0
    for _ in range(n_checks):
        middle = (too_few + n_enough) // 2
        if middle == too_few:
            break
        if is_enough(middle):
            n_enough = middle
        else:
            too_few = middle
    return n_enough


@torch.no_grad()
def measure_reference_means(
    denoiser: Denoiser, sites: Sequence[Site], prompts: Sequence[str], timestep: float, run_seed: int, batch_size: int
) -> dict[str, Tensor]:
    """Average every neuron's activation at x_T over reference prompts and positions: [neuron] by `site.name`.

    Costs 1 UE per prompt.
    """
    modules = denoiser.modules(sites)
    sums: dict[str, Tensor] = {}
    for first in range(0, len(prompts), batch_size):
        batch = prompts[first : first + batch_size]
        latents = denoiser.initial_latents(run_seed, range(first, first + len(batch)))

        def evaluate(batch: Sequence[str] = batch, latents: Tensor = latents) -> None:
            denoiser.predict(latents, timestep, denoiser.encode(batch).conditioning)

        means = record(modules, sites, evaluate, lambda activation: {"mean": activation.float().mean(dim=1)})
        for site in sites:
            batch_sum = means[f"{site.name}/mean"].cpu().sum(dim=0)
            sums[site.name] = sums.get(site.name, torch.zeros_like(batch_sum)) + batch_sum
    return {name: total / len(prompts) for name, total in sums.items()}
