"""Replace activations of neurons while the model runs, with plain hooks that leave nothing behind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from flashbulb.hooks.capture import N_NAMED, SiteDidNotFire, check_modules
from flashbulb.hooks.guidance import GuidanceLayout
from flashbulb.hooks.neuron_set import NeuronSet, sites_of
from flashbulb.hooks.response import ComputeReplacement, Response
from flashbulb.hooks.sites import Site, site_modules

By = Literal["unconditional", "mean", "zero"]


@contextmanager
def edit_sites(
    modules: Mapping[str, nn.Module], sites: Sequence[Site], edit: Callable[[Site, Tensor], Tensor | None]
) -> Iterator[None]:
    """Replace each site's activation with what `edit` returns for it; None leaves the activation unchanged.

    Raises:
        ValueError: a site is not among `modules`; raised before any hook is set.
        SiteDidNotFire: on a clean exit, a site never fired.
    """
    check_modules(modules, sites)
    fired: set[str] = set()

    def on_input(site: Site, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        fired.add(site.name)
        changed = edit(site, args[0])
        return None if changed is None else (changed, *args[1:])

    def on_output(site: Site, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        fired.add(site.name)
        return edit(site, output)

    with ExitStack() as stack:
        for site in sites:
            module = modules[site.name]
            if site.reads == "input":
                stack.callback(module.register_forward_pre_hook(partial(on_input, site)).remove)
            else:
                stack.callback(module.register_forward_hook(partial(on_output, site)).remove)
        yield
    check_fired(sites, fired)


def check_fired(sites: Sequence[Site], fired: set[str]) -> None:
    """Refuse a run in which a site never fired: its edit had no effect.

    Raises:
        SiteDidNotFire: a site is not among `fired`.
    """
    silent = [site.name for site in sites if site.name not in fired]
    if silent:
        raise SiteDidNotFire(
            f"{len(silent)} of {len(sites)} sites did not fire, so their neurons were not edited, first "
            f"{', '.join(silent[:N_NAMED])}; causes: a compiled model, fused projections, or prompt_embeds given "
            "instead of a prompt"
        )


def replace_values(activation: Tensor, neurons: Sequence[int], values: Tensor) -> Tensor:
    """Return a copy of `activation` [batch, position, neuron] with `values` at `neurons`, differentiable in both.

    Args:
        values: broadcastable to [batch, position, selected]; cast to the activation's dtype.
    """
    index = torch.tensor(neurons, dtype=torch.long, device=activation.device)
    values = values.to(activation).expand(*activation.shape[:-1], len(neurons))
    return activation.index_copy(-1, index, values)


@contextmanager
def replace_neurons(
    modules: Mapping[str, nn.Module],
    sites: Sequence[Site],
    neurons: Mapping[str, Sequence[int]],
    values: ComputeReplacement,
) -> Iterator[None]:
    """Replace the selected neurons of every site with `values`, each time the site fires.

    Gradients flow through the neurons that are not replaced, and into `values` if they have a graph.

    Args:
        modules: the live modules by `site.name`, as from `site_modules`.
        neurons: the selected neurons by `site.name`.
        values: called with a site and its activation [batch, position, neuron]; returns a tensor broadcastable to
            [batch, position, selected].

    Raises:
        ValueError: a site has no module, has no entry in `neurons`, or lacks a selected neuron; raised before any
            hook is set.
        SiteDidNotFire: on a clean exit, a site never fired.
    """
    for site in sites:
        if site.name not in neurons:
            raise ValueError(f"no neurons selected for {site.name}; select some or leave the site out")
        outside = [neuron for neuron in neurons[site.name] if not 0 <= neuron < site.n_neurons]
        if outside:
            raise ValueError(f"{site.name} has {site.n_neurons} neurons, there is no neuron {outside[0]}")

    def edit(site: Site, activation: Tensor) -> Tensor:
        return replace_values(activation, neurons[site.name], values(site, activation))

    with edit_sites(modules, sites, edit):
        yield


@contextmanager
def ablate(
    pipe: DiffusionPipeline,
    neurons: NeuronSet,
    by: By,
    is_guided: bool | None = None,
    layout: GuidanceLayout | None = None,
) -> Iterator[None]:
    """Remove neurons from the response to the prompt, in every `pipe(...)` call while the context is open.

    Wrap the pipeline's own call: the pipeline reports whether its batch is guided. Code that calls the denoiser itself
    passes `is_guided`. The edit applies at every denoising step. Sites of the denoiser are edited in the conditional
    half of a guided batch, and in the complete batch without guidance. Text-encoder sites are edited in every row that
    is not the empty prompt: the default negative prompt stays unchanged, a negative prompt with words is edited too.

    Args:
        by: what replaces the neurons. "unconditional": the unconditional half at the same position and step; in a
            text encoder the empty prompt's activation at the same position. "mean": `neurons.means`. "zero": 0.
        is_guided: True if the denoiser's batches are guided; None asks the pipeline.
        layout: of guided batches; None is that of every pipeline with a UNet.

    Raises:
        ValueError: the pipeline has no such neurons; `by` is "mean" and the set has no means; or, as the denoiser
            runs, `by` is "unconditional" and there is no guidance.
        SiteDidNotFire: on a clean exit, a site never fired.
    """
    sites = sites_of(pipe, neurons)
    check_by(neurons, by)
    response = Response(pipe, sites, is_guided, layout)
    values = make_replacement(response, neurons, by)
    with response.watch(), replace_neurons(site_modules(pipe, sites), sites, neurons.neurons, values):
        yield


def check_by(neurons: NeuronSet, by: By) -> None:
    """Refuse a replacement that is unknown or that `neurons` has no values for.

    Raises:
        ValueError: `by` is not one of `By`, or is "mean" and the set has no means.
    """
    if by not in get_args(By):
        raise ValueError(f"cannot ablate by {by!r}; choose one of {list(get_args(By))}")
    if by == "mean" and neurons.means is None:
        raise ValueError('the neuron set has no means; add the reference means, or ablate by "unconditional" or "zero"')


def make_replacement(response: Response, neurons: NeuronSet, by: By) -> ComputeReplacement:
    """Return the function that computes the values of ablated neurons for `replace_neurons`; see `ablate`."""

    def compute(site: Site, activation: Tensor) -> Tensor:
        numbers = list(neurons.neurons[site.name])
        selected = activation[..., numbers]  # [batch, position, neuron] -> [batch, position, selected]
        if by == "unconditional":
            replacement = response.unconditional(site, activation)[..., numbers]
        elif by == "mean":
            assert neurons.means is not None
            replacement = selected.new_tensor(neurons.means[site.name])  # [selected]
        else:
            replacement = selected.new_zeros(())
        return response.replace(site, selected, replacement)

    return compute
