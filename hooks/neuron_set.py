"""Sets of neurons by site, with their reference means if known, and their JSON file."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from operator import index
from pathlib import Path

from diffusers import DiffusionPipeline

from flashbulb.hooks.capture import N_NAMED
from flashbulb.hooks.files import write_atomically
from flashbulb.hooks.sites import SITE_KINDS, Site, UnknownArchitecture, find_sites
from flashbulb.hooks.store import NewerSchema

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class NeuronSet:
    """Neurons of a model that are ablated, recorded or patched together.

    Args:
        neurons: by `site.name`, the neurons in ascending order; any integers, such as an array of NumPy.
        means: by `site.name`, the mean activation of each neuron over reference prompts, in the order of `neurons`.
        fingerprint: of the model the neurons belong to; None if unknown.

    Raises:
        TypeError: neurons are no integers.
        ValueError: neurons are negative or not ascending, or the means do not fit them or are not finite.
    """

    neurons: Mapping[str, tuple[int, ...]]
    means: Mapping[str, tuple[float, ...]] | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        # plain numbers, so that sets compare and can be saved
        object.__setattr__(self, "neurons", {name: tuple(map(index, given)) for name, given in self.neurons.items()})
        if self.means is not None:
            object.__setattr__(self, "means", {name: tuple(map(float, given)) for name, given in self.means.items()})
        for name, numbers in self.neurons.items():
            if any(number < 0 for number in numbers):
                raise ValueError(f"{name} has the negative neuron {min(numbers)}; neurons count from 0")
            wrong = next((pair for pair in pairwise(numbers) if pair[0] >= pair[1]), None)
            if wrong:
                raise ValueError(f"{name} lists neuron {wrong[1]} after {wrong[0]}; sort them and name each once")
        if self.means is None:
            return
        if self.means.keys() != self.neurons.keys():
            differing = sorted(self.means.keys() ^ self.neurons.keys())
            raise ValueError(f"means and neurons name different sites: {differing[:N_NAMED]}; give both for each")
        for name, means in self.means.items():
            if len(means) != len(self.neurons[name]):
                raise ValueError(f"{name} has {len(self.neurons[name])} neurons and {len(means)} means; give one each")
            if not all(math.isfinite(mean) for mean in means):
                raise ValueError(f"{name} has a mean that is not finite; leave the neuron out or refit the reference")

    @property
    def n_neurons(self) -> int:
        """Count the neurons of all sites."""
        return sum(len(numbers) for numbers in self.neurons.values())


def save_neurons(path: str | os.PathLike[str], neuron_set: NeuronSet) -> None:
    """Write `neuron_set` as JSON; the file appears complete or not at all."""
    content = {"schema_version": SCHEMA_VERSION, **asdict(neuron_set)}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(Path(path), lambda file: file.write(text.encode()))


def load_neurons(path: str | os.PathLike[str]) -> NeuronSet:
    """Read a neuron set, written by `save_neurons` or by hand.

    Raises:
        NewerSchema: the file was written by a newer version.
        ValueError: the file is not a valid neuron set; the message names the entry at fault.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; save the neurons again") from error
    try:
        return _parse(content)
    except NewerSchema as error:
        raise NewerSchema(f"{path} {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a neuron set: {error}") from error


def sites_of(pipe: DiffusionPipeline, neuron_set: NeuronSet) -> tuple[Site, ...]:
    """Find the sites of `pipe` that `neuron_set` names, in the order of `find_sites`.

    Raises:
        ValueError: the pipeline has no such site, or a site has fewer neurons than the set names.
        UnknownArchitecture: the pipeline has no supported UNet.
    """
    live = {site.name: site for site in _live_sites(pipe)}
    unknown = [name for name in neuron_set.neurons if name not in live]
    if unknown:
        raise ValueError(
            f"{type(pipe).__name__} has no site {', '.join(unknown[:N_NAMED])} ({len(unknown)} of "
            f"{len(neuron_set.neurons)} are unknown); take the neurons from an audit of this model"
        )
    for name, numbers in neuron_set.neurons.items():
        if numbers and numbers[-1] >= live[name].n_neurons:
            raise ValueError(
                f"{name} has {live[name].n_neurons} neurons, there is no neuron {numbers[-1]}; "
                "take the neurons from an audit of this model"
            )
    return tuple(site for site in live.values() if site.name in neuron_set.neurons)


def _live_sites(pipe: DiffusionPipeline) -> Iterator[Site]:
    find_sites(pipe, ())  # raises if there is no supported UNet
    for kind in SITE_KINDS:
        with suppress(UnknownArchitecture):  # the pipeline has no site of this kind, for example no text encoder
            yield from find_sites(pipe, [kind])


def _parse(content: object) -> NeuronSet:
    if not isinstance(content, dict) or type(content.get("schema_version")) is not int:
        raise ValueError(f'it has no integer "schema_version"; this version writes {SCHEMA_VERSION}')
    if content["schema_version"] > SCHEMA_VERSION:
        raise NewerSchema(
            f"has schema version {content['schema_version']}, newer than {SCHEMA_VERSION}; upgrade or save it again"
        )
    known = {"schema_version", *(field.name for field in fields(NeuronSet))}
    if content.keys() != known:
        missing, unknown = sorted(known - content.keys()), sorted(content.keys() - known)
        raise ValueError(f"entries missing: {missing}, entries unknown: {unknown}; the entries are {sorted(known)}")
    fingerprint, means = content["fingerprint"], content["means"]
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f'"fingerprint" must be a string or null, got {fingerprint!r}')
    neurons = _numbers_by_site("neurons", content["neurons"], (int,))
    means_by_site = None if means is None else _numbers_by_site("means", means, (int, float))
    return NeuronSet(
        {name: tuple(int(number) for number in numbers) for name, numbers in neurons.items()},
        None if means_by_site is None else {name: tuple(map(float, values)) for name, values in means_by_site.items()},
        fingerprint,
    )


def _numbers_by_site(entry: str, content: object, types: tuple[type, ...]) -> dict[str, list[float]]:
    if not isinstance(content, dict):
        raise ValueError(f'"{entry}" must map site names to lists of numbers, got {type(content).__name__}')
    for name, numbers in content.items():
        # `type`, because isinstance takes a bool for an int
        if not isinstance(numbers, list) or any(type(number) not in types for number in numbers):
            allowed = " or ".join(number_type.__name__ for number_type in types)
            raise ValueError(f'"{entry}" of {name} must be a list of {allowed} numbers')
    return content
