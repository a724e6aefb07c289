"""Recovery from an ablated model, after Finding Dori (arXiv 2507.16880): is the memory gone, or one way to it closed?

The authors pruned the localized neurons; fifty steps on the prompt's embedding brought the images back. A shorter test
runs here, a pull from the prompt: Adam moves its embedding, inside a ball, until the ablated model denoises the image;
then the embedding is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.localize.effects import count_replicating
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.pulling import PullPlan, ascend_towards, sample_pulled
from flashbulb.hooks import By, NeuronSet, Site, observe, replace_neurons


def count_recovered_again(
    denoiser: Denoiser,
    prompt: str,
    memory: RgbImage,
    neurons: NeuronSet,
    by: By,
    recovery: PullPlan,
) -> int:
    """Optimise the prompt's embedding towards the memory, and count the samples that replicate it.

    The model is ablated throughout.
    """
    with ablated_alone(denoiser, neurons, by):
        found = ascend_towards(denoiser, memory[None], [prompt], recovery, start=prompt)
    with denoiser.ablated(neurons, by):
        (images,) = sample_pulled(denoiser, found, [prompt], recovery)
    return count_replicating(images, memory)


@contextmanager
def ablated_alone(denoiser: Denoiser, neurons: NeuronSet, by: By) -> Iterator[None]:
    """Ablate while prompts are evaluated without the empty prompt beside them, at half the UE, wherever that is equal.

    Means and zeros are known beforehand. So are the empty prompt's cross-attention keys and values, which are equal at
    every step. Other sites see the latents: their unconditional values need the other half of a guided batch.
    """
    sites = [site for site in denoiser.sites(denoiser.site_kinds()) if site.name in neurons.neurons]
    if by != "unconditional":
        with denoiser.ablated(neurons, by, is_guided=False):
            yield
    elif all(site.is_prompt_site and not site.is_in_text_encoder for site in sites):
        empty = _values_of_empty_prompt(denoiser, sites)

        def values(site: Site, _activation: Tensor) -> Tensor:
            return empty[site.name][..., list(neurons.neurons[site.name])]  # [1, position, selected]

        with replace_neurons(denoiser.modules(sites), sites, neurons.neurons, values):
            yield
    else:
        with denoiser.guided(), denoiser.ablated(neurons, by, is_guided=True):
            yield


@torch.no_grad()
def _values_of_empty_prompt(denoiser: Denoiser, sites: list[Site]) -> dict[str, Tensor]:
    """Return the activations of prompt sites for what guidance compares with: [1, position, neuron] by `site.name`."""
    empty: dict[str, Tensor] = {}

    def keep(site: Site, activation: Tensor) -> None:
        empty[site.name] = activation

    with observe(denoiser.modules(sites), sites, keep):
        denoiser.run_prompt_sites(sites, denoiser.unconditional(1))
    return empty
