"""Choose levers: the neurons that carry most of a response, ranked by attribution, and the fewest that suffice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from audit.denoiser import Denoiser
from hooks import NeuronSet, Site, record, site_modules


class Ranked(NamedTuple):
    """One neuron and what it was ranked by, such as its attribution."""

    site: str
    neuron: int
    value: float


def rank_neurons(values: Mapping[str, Tensor], sites: Sequence[Site]) -> list[Ranked]:
    """All neurons of `sites`, highest first.

    Args:
        values: [neuron] by `site.name`.
    """
    joined = torch.cat([values[site.name] for site in sites])
    owners = [(site.name, neuron) for site in sites for neuron in range(site.n_neurons)]
    order = joined.argsort(descending=True, stable=True).tolist()
    return [Ranked(owners[i][0], owners[i][1], float(joined[i])) for i in order]


def neuron_set_of(ranked: Sequence[Ranked], means: Mapping[str, Tensor] | None, fingerprint: str) -> NeuronSet:
    """The neurons as a set that `hooks.ablate` takes.

    Args:
        means: reference mean of every neuron, [neuron] by `site.name`.
    """
    neurons: dict[str, tuple[int, ...]] = {}
    for name in dict.fromkeys(one.site for one in ranked):
        neurons[name] = tuple(sorted(one.neuron for one in ranked if one.site == name))
    of_chosen = None
    if means is not None:
        of_chosen = {name: tuple(means[name][list(chosen)].tolist()) for name, chosen in neurons.items()}
    return NeuronSet(neurons, of_chosen, fingerprint)


def fewest(is_enough: Callable[[int], bool], n_enough: int, n_checks: int) -> int:
    """The smallest number known to be enough after `n_checks` bisections between none and `n_enough`.

    Bisection takes it that more neurons of a ranking do at least what fewer do; where they do not, the number is
    still one that `is_enough` was asked about and affirmed, or `n_enough`.
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
def reference_means(
    denoiser: Denoiser, sites: Sequence[Site], prompts: Sequence[str], timestep: int, run_seed: int, batch_size: int
) -> dict[str, Tensor]:
    """Mean activation of every neuron over reference prompts and positions at x_T: [neuron] by `site.name`.

    Costs 1 UE a prompt.
    """
    modules = site_modules(denoiser.pipe, sites)
    sums: dict[str, Tensor] = {}
    for first in range(0, len(prompts), batch_size):
        chunk = prompts[first : first + batch_size]
        latents = denoiser.initial_latents(run_seed, range(first, first + len(chunk)))

        def evaluate(chunk: Sequence[str] = chunk, latents: Tensor = latents) -> None:
            denoiser.predict_noise(latents, timestep, denoiser.embed(denoiser.tokenize(chunk)))

        means = record(modules, sites, evaluate, lambda activation: {"mean": activation.float().mean(dim=1)})
        for site in sites:
            of_chunk = means[f"{site.name}/mean"].sum(dim=0)
            sums[site.name] = sums.get(site.name, torch.zeros_like(of_chunk)) + of_chunk
    return {name: total / len(prompts) for name, total in sums.items()}
