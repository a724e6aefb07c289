"""The neurons behind a flag: for a few prompts, those farthest from their baseline, and how each site stands out.

Of a fine-tune, z is the difference from its base, each whitened by its own baselines: what the training added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flashbulb.audit.detectors import Matrix
from flashbulb.audit.record.columns import Column, Columns
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.baseline import z_scores
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.hooks import Site
from flashbulb.reports.tables.evidence import SPIKE_LIMIT

Row = npt.NDArray[np.float64]  # [neuron]


class Kept(NamedTuple):
    """Which neurons of a prompt are kept: the farthest over all kinds of site, and those that an ascent climbs."""

    n_spikes: int
    climbed_kind: str
    n_climbed: int


@dataclass(frozen=True, slots=True)
class Spike:
    """One neuron of one prompt, far from its baseline.

    Args:
        own_z: z in the audited model.
        share: of z² in the sum over all neurons of its kind.
        base_z: z of the same neuron in the base; None without a base.
    """

    column: Column
    neuron: int
    activation: float
    own_z: float
    share: float
    base_z: float | None = None

    @property
    def z(self) -> float:
        """Distance from the baseline; with a base, the part that the base does not have."""
        return self.own_z - (self.base_z or 0.0)


class BaseNeurons(NamedTuple):
    """The same kinds of site scored on the base, in the same order, and the same candidates recorded on it."""

    groups: Sequence[GroupScores]
    candidates: Shards


class _Whitened(NamedTuple):
    """One candidate: its activations [1, neuron], and their z in the audited model and in the base."""

    position: int
    activations: Matrix
    own_z: Row
    base_z: Row | None

    @property
    def z(self) -> Row:
        return self.own_z if self.base_z is None else self.own_z - self.base_z


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
    kept: Kept,
    base: BaseNeurons | None = None,
) -> dict[int, PromptNeurons]:
    """Read the neurons of the candidates at `positions`, each once, and return what they show, by position.

    Args:
        base: z is then the difference from it.
    """
    spikes: dict[int, list[Spike]] = {position: [] for position in positions}
    climbed: dict[int, list[Spike]] = {position: [] for position in positions}
    profiles: dict[int, list[SiteProfile]] = {position: [] for position in positions}
    for index, group in enumerate(groups):
        n_climbed = kept.n_climbed if group.kind == kept.climbed_kind else 0
        base_neurons = None if base is None else (base.groups[index], base.candidates)
        for row in _whiten(group, candidates, positions, base_neurons):
            farthest = _spikes(row, group.columns, max(kept.n_spikes, n_climbed))
            spikes[row.position] = sorted(spikes[row.position] + farthest, key=lambda s: -abs(s.z))[: kept.n_spikes]
            climbed[row.position] += farthest[:n_climbed]
            profiles[row.position] += _profiles(row.z, group.columns)
    return {p: PromptNeurons(spikes[p], climbed[p], profiles[p]) for p in positions}


def _whiten(
    group: GroupScores, candidates: Shards, positions: Collection[int], base: tuple[GroupScores, Shards] | None
) -> Iterator[_Whitened]:
    """Yield the candidates at `positions`, in the order of the shards, which the base shares."""

    def z_of(group: GroupScores, position: int, row: Matrix) -> Row:
        return np.asarray(z_scores(row, group.baseline_of(position))[0], dtype=np.float64)

    rows = candidates.rows(group.columns, positions)
    if base is None:
        yield from (_Whitened(position, row, z_of(group, position, row), None) for position, row in rows)
        return
    in_base, shards = base
    for (position, row), (same, other) in zip(rows, shards.rows(group.columns, positions), strict=True):
        assert position == same, f"prompt {position} is prompt {same} of the recording on the base"
        yield _Whitened(position, row, z_of(group, position, row), z_of(in_base, position, other))


def _spikes(row: _Whitened, columns: Columns, n: int) -> list[Spike]:
    squared = np.square(row.z)
    farthest = largest(squared, n)
    listed = zip(
        columns.neurons_at(farthest),
        np.nan_to_num(row.activations[0, farthest]).tolist(),
        row.own_z[farthest].tolist(),
        (squared[farthest] / max(float(squared.sum()), 1e-30)).tolist(),
        [None] * len(farthest) if row.base_z is None else row.base_z[farthest].tolist(),
        strict=True,
    )
    return [Spike(*where, activation, own_z, share, base_z) for where, activation, own_z, share, base_z in listed]


def largest(values: npt.NDArray[np.floating], n: int) -> npt.NDArray[np.intp]:
    """Return where the `n` largest of [neuron] stand, largest first; of equal ones those that come first."""
    if n >= len(values):
        return np.argsort(-values, kind="stable")
    if n == 0:
        return np.zeros(0, dtype=np.intp)
    chosen = np.flatnonzero(values >= np.partition(values, len(values) - n)[len(values) - n])
    return chosen[np.argsort(-values[chosen], kind="stable")[:n]]


def _profiles(z: Row, columns: Columns) -> list[SiteProfile]:
    return [
        SiteProfile(site, float(np.sqrt(np.square(values).mean())), float((np.abs(values) > SPIKE_LIMIT).mean()))
        for site, values in columns.by_site(z).items()
    ]
