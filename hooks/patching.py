"""Carry neurons from one run into another: record their activations, then play them back firing by firing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from diffusers import DiffusionPipeline
from torch import Tensor

from flashbulb.hooks.ablate import edit_sites, replace_neurons
from flashbulb.hooks.capture import N_NAMED
from flashbulb.hooks.guidance import GuidanceLayout
from flashbulb.hooks.neuron_set import NeuronSet, sites_of
from flashbulb.hooks.response import Response
from flashbulb.hooks.sites import Site, site_modules

_SAME_CALL = "call the pipeline once, with the steps, batch and size of the recorded call"


@dataclass(frozen=True, slots=True)
class Recording:
    """The activations of neurons in response to a prompt.

    Args:
        neurons: the recorded neurons.
        firings: by `site.name`, one tensor [batch, position, selected] per firing, detached, on the model's device
            and in its dtype. The batch is the conditional half of a guided batch.
    """

    neurons: NeuronSet
    firings: Mapping[str, list[Tensor]]


@contextmanager
def record_neurons(
    pipe: DiffusionPipeline,
    neurons: NeuronSet,
    is_guided: bool | None = None,
    layout: GuidanceLayout | None = None,
) -> Iterator[Recording]:
    """Record neurons in the `pipe(...)` call inside the context; the recording fills as the pipeline runs.

    Skips encodes of the empty prompt alone, such as that of the default negative prompt. `is_guided` and
    `layout` as in `ablate`.

    Raises:
        ValueError: the pipeline has no such neurons.
        SiteDidNotFire: on a clean exit, a site never fired.
    """
    sites = sites_of(pipe, neurons)
    response = Response(pipe, sites, is_guided, layout)
    recording = Recording(neurons, {site.name: [] for site in sites})

    def keep(site: Site, activation: Tensor) -> None:
        rows = response.select(site, activation[..., list(neurons.neurons[site.name])])
        if rows is not None:
            recording.firings[site.name].append(rows.detach().clone())  # not a view of both halves

    with response.watch(), edit_sites(site_modules(pipe, sites), sites, keep):
        yield recording


@contextmanager
def patch(
    pipe: DiffusionPipeline,
    recording: Recording,
    is_guided: bool | None = None,
    layout: GuidanceLayout | None = None,
) -> Iterator[None]:
    """Put recorded activations into the response of the `pipe(...)` call inside the context, firing by firing.

    The unconditional half and encodes of the empty prompt stay unchanged. Call the pipeline once, with as many
    steps, images and pixels as in the recorded call. `is_guided` and `layout` as in `ablate`.

    Raises:
        ValueError: the pipeline has no such neurons, or the run differs from the recorded run in its number of
            firings, rows or positions.
        SiteDidNotFire: on a clean exit, a site never fired.
    """
    sites = sites_of(pipe, recording.neurons)
    playback = Playback(Response(pipe, sites, is_guided, layout), recording)
    modules = site_modules(pipe, sites)
    with playback.response.watch(), replace_neurons(modules, sites, recording.neurons.neurons, playback.next_firing):
        yield
    playback.check_finished()


class Playback:
    """Returns the firings of a recording one after the other, for `replace_neurons`."""

    def __init__(self, response: Response, recording: Recording) -> None:
        self.response = response
        self._recording = recording
        self._n_played = dict.fromkeys(recording.firings, 0)

    def next_firing(self, site: Site, activation: Tensor) -> Tensor:
        """Return the values of the recorded neurons at this firing of `site`.

        Raises:
            ValueError: the site fires more often than recorded, or with another number of rows or positions.
        """
        selected = activation[..., list(self._recording.neurons.neurons[site.name])]
        rows = self.response.select(site, selected)
        if rows is None:
            return selected
        firings, n_played = self._recording.firings[site.name], self._n_played[site.name]
        if n_played == len(firings):
            raise ValueError(f"{site.name} was recorded {len(firings)} times and fires again; {_SAME_CALL}")
        self._n_played[site.name] += 1
        recorded = firings[n_played]
        if recorded.shape != rows.shape:
            raise ValueError(
                f"{site.name} was recorded with shape [batch, position, selected] = {tuple(recorded.shape)}, "
                f"here it has {tuple(rows.shape)}; {_SAME_CALL}"
            )
        return self.response.replace(site, selected, recorded)

    def check_finished(self) -> None:
        """Refuse a run that ended before the recording did.

        Raises:
            ValueError: a site fired less often than recorded.
        """
        firings = self._recording.firings
        unplayed = [name for name, n_played in self._n_played.items() if n_played < len(firings[name])]
        if unplayed:
            named = ", ".join(
                f"{name} was recorded {len(firings[name])} times and fired {self._n_played[name]} times"
                for name in unplayed[:N_NAMED]
            )
            raise ValueError(f"{named}; {_SAME_CALL}")
