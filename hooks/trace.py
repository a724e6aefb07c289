"""The edits of `ablate` and `patch` through nnsight, an engine of its own for the same intervention.

Importing nnsight changes the process: it patches `Tensor.backward` and gives every object a `save`. So it is
imported when a function here is called, and by nothing else of ours. It reads its own blocks from source files,
so this file has to be on disk.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor, nn

from hooks.ablate import By, ablation_values, check_by, check_fired, edited
from hooks.neuron_set import NeuronSet, sites_of
from hooks.patching import Playback, Recording
from hooks.response import Response, Values
from hooks.sites import Site, site_modules


def run_traced(pipe: DiffusionPipeline, neurons: NeuronSet, by: By, **call: Any) -> Any:
    """Give `pipe(**call)` with `neurons` ablated by nnsight; see `ablate`, which does the same with plain hooks.

    Raises:
        ValueError, SiteDidNotFire: as `ablate`.
    """
    sites = sites_of(pipe, neurons)
    check_by(neurons, by)
    response = Response(pipe, sites)
    return _run_edited(pipe, sites, response, neurons, ablation_values(response, neurons, by), call)


def patch_traced(pipe: DiffusionPipeline, recording: Recording, **call: Any) -> Any:
    """Give `pipe(**call)` with `recording` played into it by nnsight; see `patch`.

    Raises:
        ValueError, SiteDidNotFire: as `patch`.
    """
    sites = sites_of(pipe, recording.neurons)
    playback = Playback(Response(pipe, sites), recording)
    output = _run_edited(pipe, sites, playback.response, recording.neurons, playback.values, call)
    playback.check_finished()
    return output


def _run_edited(
    pipe: DiffusionPipeline,
    sites: Sequence[Site],
    response: Response,
    neurons: NeuronSet,
    values: Values,
    call: Mapping[str, Any],
) -> Any:
    from nnsight.intervention.interleaver import OutOfOrderError

    fired: set[str] = set()

    def edit(site: Site, activation: Tensor) -> Tensor:
        fired.add(site.name)
        return edited(activation, neurons.neurons[site.name], values(site, activation))

    modules = [*response.embeddings.values(), *site_modules(pipe, sites).values()]
    with _wrapped(modules) as root, warnings.catch_warnings():
        # Every open loop over a site's firings ends so.
        warnings.filterwarnings("ignore", message=".*was never reached: the loop asked for a step")
        _store_edits(root, response, sites, edit)
        try:
            output = root.interleave(partial(pipe, **call))
        except OutOfOrderError:  # a worker that was never served
            check_fired(sites, fired)
            raise
    return output


@contextmanager
def _wrapped(modules: Sequence[nn.Module]) -> Iterator[Any]:
    """Wrap only `modules`, not the components they are in: what is not wrapped costs nothing.

    nnsight leaves its own `forward` and its state in the modules it has wrapped; what was not there before is
    taken out again.
    """
    from nnsight import NNsight

    before = [dict(module.__dict__) for module in modules]
    root = NNsight(nn.ModuleList(modules))
    after = [dict(module.__dict__) for module in modules]
    try:
        yield root
    finally:
        root.clear_edits()
        for module, was, became in zip(modules, before, after, strict=True):
            for name in (name for name, value in became.items() if was.get(name, root) is not value):
                del module.__dict__[name]
                if name in was:
                    module.__dict__[name] = was[name]


def _store_edits(root: Any, response: Response, sites: Sequence[Site], edit: Callable[[Site, Tensor], Tensor]) -> None:
    """Give every site a worker of its own, since one worker has to meet its sites in the order they fire."""
    embeddings, envoys = root[: len(response.embeddings)], root[len(response.embeddings) :]
    for component, envoy in zip(response.embeddings, embeddings, strict=True):
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
