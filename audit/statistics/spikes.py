"""The neurons behind a flag: for a few prompts, those farthest from their baseline, and how each site stands out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flashbulb.audit.detectors import Matrix
from flashbulb.audit.record.columns import Column, Columns
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.baseline import z_scores
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.hooks import Site
from flashbulb.reports.tables.evidence import SPIKE_LIMIT


@dataclass(frozen=True, slots=True)
class Spike:
    """One neuron of one prompt, far from its baseline; `share` is its share of the squared score of its kind."""

    column: Column
    neuron: int
    activation: float
    z: float
    share: float


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """One site for one prompt: root mean square of its neurons' z, and the share of neurons beyond `SPIKE_LIMIT`."""

    site: Site
    rms_z: float
    spike_share: float


@dataclass(frozen=True, slots=True)
class PromptNeurons:
    """What the neurons of one prompt show.

    Args:
        spikes: the neurons farthest from their baseline over all kinds of site, farthest first.
        climbed: those of the kind that an ascent climbs, farthest first; none where it is not recorded.
        profiles: of every scored site, in the order of the sites.
    """

    spikes: Sequence[Spike]
    climbed: Sequence[Spike]
    profiles: Sequence[SiteProfile]


def read_neurons(
    groups: Sequence[GroupScores],
    candidates: Shards,
    positions: Collection[int],
    *,
    n_spikes: int,
    climbed_kind: str,
    n_climbed: int,
) -> dict[int, PromptNeurons]:
    """Read the neurons of the candidates at `positions`, each once, and return what they show, by position.

    Args:
        n_spikes: neurons to list over all kinds of site.
        n_climbed: neurons to list of `climbed_kind`.
    """
    spikes: dict[int, list[Spike]] = {position: [] for position in positions}
    climbed: dict[int, list[Spike]] = {position: [] for position in positions}
    profiles: dict[int, list[SiteProfile]] = {position: [] for position in positions}
    for group in groups:
        is_climbed = group.kind == climbed_kind
        for position, row in candidates.rows(group.columns, positions):
            z = z_scores(row, group.baseline_of(position))[0]
            farthest = _spikes(row, z, group.columns, max(n_spikes, n_climbed) if is_climbed else n_spikes)
            spikes[position] = sorted(spikes[position] + farthest, key=lambda spike: -abs(spike.z))[:n_spikes]
            climbed[position] += farthest[:n_climbed] if is_climbed else ()
            profiles[position] += _profiles(z, group.columns)
    return {p: PromptNeurons(spikes[p], climbed[p], profiles[p]) for p in positions}


def _spikes(row: Matrix, z: npt.NDArray[np.float32], columns: Columns, n: int) -> list[Spike]:
    total = max(float(np.square(z, dtype=np.float64).sum()), 1e-30)
    farthest = np.argsort(-np.abs(z))[:n]
    activations = np.nan_to_num(row[0, farthest]).tolist()
    return [
        Spike(column, neuron, activation, value, value**2 / total)
        for (column, neuron), activation, value in zip(
            columns.neurons_at(farthest), activations, z[farthest].tolist(), strict=True
        )
    ]


def _profiles(z: npt.NDArray[np.float32], columns: Columns) -> list[SiteProfile]:
    return [
        SiteProfile(site, float(np.sqrt(np.square(values).mean())), float((np.abs(values) > SPIKE_LIMIT).mean()))
        for site, values in columns.by_site(z.astype(np.float64)).items()
    ]
