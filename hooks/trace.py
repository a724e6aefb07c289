"""The edits of `ablate` and `patch` made through nnsight: an independent implementation of the same intervention.

Importing nnsight changes the process: it patches `Tensor.backward` and gives every object a `save`. It is therefore
imported only when a function of this module is called. nnsight reads its own blocks from source files, so this file
must be on disk.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor, nn

from flashbulb.hooks.ablate import By, check_by, check_fired, make_replacement, replace_values
from flashbulb.hooks.neuron_set import NeuronSet, sites_of
from flashbulb.hooks.patching import Playback, Recording
from flashbulb.hooks.response import ComputeReplacement, Response
from flashbulb.hooks.sites import Site, site_modules


def run_traced(pipe: DiffusionPipeline, neurons: NeuronSet, by: By, **call: Any) -> Any:
    """Return `pipe(**call)` with `neurons` ablated by nnsight; `ablate` does the same with plain hooks.

    Raises:
        ValueError, SiteDidNotFire: as `ablate`.
    """
    sites = sites_of(pipe, neurons)
    check_by(neurons, by)
    response = Response(pipe, sites)
    return _run_edited(pipe, sites, response, neurons, make_replacement(response, neurons, by), call)


def patch_traced(pipe: DiffusionPipeline, recording: Recording, **call: Any) -> Any:
    """Return `pipe(**call)` with `recording` played back by nnsight; `patch` does the same with plain hooks.

    Raises:
        ValueError, SiteDidNotFire: as `patch`.
    """
    sites = sites_of(pipe, recording.neurons)
    playback = Playback(Response(pipe, sites), recording)
    output = _run_edited(pipe, sites, playback.response, recording.neurons, playback.next_firing, call)
    playback.check_finished()
    return output


def _run_edited(
    pipe: DiffusionPipeline,
    sites: Sequence[Site],
    response: Response,
    neurons: NeuronSet,
    values: ComputeReplacement,
    call: Mapping[str, Any],
) -> Any:
    from nnsight.intervention.interleaver import OutOfOrderError

    fired: set[str] = set()

    def edit(site: Site, activation: Tensor) -> Tensor:
        fired.add(site.name)
        return replace_values(activation, neurons.neurons[site.name], values(site, activation))

    modules = [*(embedding for _, embedding in response.embeddings), *site_modules(pipe, sites).values()]
    with _wrap(modules) as root, warnings.catch_warnings():
        # nnsight warns so at the end of every open loop over a site's firings.
        warnings.filterwarnings("ignore", message=".*was never reached: the loop asked for a step")
        _store_edits(root, response, sites, edit)
        try:
            output = root.interleave(partial(pipe, **call))
        except OutOfOrderError:  # a worker whose site never fired
            check_fired(sites, fired)
            raise
    return output


@contextmanager
def _wrap(modules: Sequence[nn.Module]) -> Iterator[Any]:
    """Wrap only `modules`, not the components that contain them: modules that are not wrapped run at full speed.

    nnsight leaves its own `forward` and its state in the modules it has wrapped. On exit every attribute is restored.
    """
    from nnsight import NNsight

    before = [dict(module.__dict__) for module in modules]
    root = NNsight(nn.ModuleList(modules))
    after = [dict(module.__dict__) for module in modules]
    try:
        yield root
    finally:
        root.clear_edits()
        for module, original, wrapped in zip(modules, before, after, strict=True):
            for name in (name for name, value in wrapped.items() if original.get(name, root) is not value):
                del module.__dict__[name]
                if name in original:
                    module.__dict__[name] = original[name]


def _store_edits(root: Any, response: Response, sites: Sequence[Site], edit: Callable[[Site, Tensor], Tensor]) -> None:
    """Give every site a worker of its own, because a worker must meet its sites in the order they fire."""
    embeddings, envoys = root[: len(response.embeddings)], root[len(response.embeddings) :]
    for (component, _), envoy in zip(response.embeddings, embeddings, strict=True):
        with root.edit(inplace=True) as tracer:
            for _ in tracer.iter[:]:
                response.begin_encode(component, envoy.input)
    for site, envoy in zip(sites, envoys, strict=True):
        with root.edit(inplace=True) as tracer:
            for _ in tracer.iter[:]:
                if site.reads == "input":
                    envoy.input = edit(site, envoy.input)
                else:
                    envoy.output = edit(site, envoy.output)
