"""The bulk layout: reduce activations, while they are recorded, to what detection reads, and read that again.

Scores are those of the dense layout. Of a prompt's neurons, those farthest from their baseline are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from flashbulb.audit.detectors import Matrix, NeuronDetector, find_detectors
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.record.reduction import BASELINES_SHA256, BULK, LAYOUT
from flashbulb.audit.record.shards import Shards, mean_over_seeds
from flashbulb.audit.statistics.baseline import root_mean_squares, whiten
from flashbulb.audit.statistics.bulk import BulkFit, open_bulk
from flashbulb.audit.statistics.scores import GroupScores, neuron_columns, scored_kinds, spike_column
from flashbulb.audit.statistics.spikes import Kept, PromptNeurons, SiteProfile, Spike, largest
from flashbulb.hooks import DamagedFile, Site, as_read
from flashbulb.reports.tables.evidence import SPIKE_LIMIT
from flashbulb.reports.tables.files import sha256_of

_TOP, _CLIMBED = "top", "climbed"
_NEURON, _Z, _ACTIVATION, _RMS_Z, _N_SPIKING = "neuron", "z", "activation", "rms_z", "n_spiking"


def estimate_reduced_bytes(sites: Sequence[Site], kept: Kept) -> int:
    """Return the bytes of a prompt in a reduced shard before compression."""
    return 12 * (kept.n_spikes + kept.n_climbed) + 8 * (len(sites) + len(scored_kinds(sites)))


@dataclass(frozen=True, slots=True)
class BulkReduction:
    """Reduces shards by the baselines of a file, which every process reads for itself; a `Reduction`."""

    path: Path
    sha256: str

    @classmethod
    def by(cls, path: Path) -> BulkReduction:
        """Return the reduction by the baselines of a file."""
        return cls(path, sha256_of(path))

    @property
    def entries(self) -> Mapping[str, str]:
        """What manifests say of it."""
        return {LAYOUT: BULK, BASELINES_SHA256: self.sha256}

    def reduce(
        self, at_prompt: Mapping[str, Tensor], at_step: Mapping[str, Tensor], first: int
    ) -> Mapping[str, pa.Array]:
        """Return the columns of a reduced shard, one value a prompt.

        Raises:
            DamagedFile: the file of baselines is not the one that was written.
        """
        fit = _read_once(self.path, self.sha256)
        return reduce_shard(fit, lambda columns: _matrix(columns, at_prompt, at_step, fit.n_seeds), first)


@lru_cache(maxsize=1)
def _read_once(path: Path, sha256: str) -> BulkFit:
    if not path.is_file() or sha256_of(path) != sha256:
        raise DamagedFile(f"{path} is missing or damaged; run the same command again")
    return open_bulk(path)


def _matrix(columns: Columns, at_prompt: Mapping[str, Tensor], at_step: Mapping[str, Tensor], n_seeds: int) -> Matrix:
    """Return the neurons of the columns as they would be read from a dense shard: [prompt, neuron]."""
    half = at_prompt if columns.are_of_prompt_sites else at_step
    rows = {name: as_read(half[name]) for name in columns.names}
    if not columns.are_of_prompt_sites:
        rows = {name: mean_over_seeds(r.reshape(-1, n_seeds, r.shape[1])) for name, r in rows.items()}
    return columns.join(rows)


def reduce_shard(fit: BulkFit, read: Callable[[Columns], Matrix], first: int) -> dict[str, pa.Array]:
    """Return what is kept of a shard, by column, one value a prompt.

    Args:
        read: returns the neurons of columns, [prompt, neuron].
        first: position of the first prompt in its set.
    """
    columns: dict[str, pa.Array] = {}
    tops: list[_Neurons] = []
    start = 0
    for group in fit.groups:
        matrix = read(group.columns)
        z = whiten(matrix, group.baselines, group.folds(first, len(matrix)))
        columns[spike_column(group.kind)] = pa.array(root_mean_squares(z))
        by_site = group.columns.by_site(z)
        rms = np.stack([root_mean_squares(values) for values in by_site.values()], axis=1)
        spiking = np.stack([(np.abs(values) > SPIKE_LIMIT).sum(axis=1) for values in by_site.values()], axis=1)
        columns[f"{group.kind}/{_RMS_Z}"] = _lists(rms.astype(np.float32))
        columns[f"{group.kind}/{_N_SPIKING}"] = _lists(spiking.astype(np.int32))
        is_climbed = group.kind == fit.kept.climbed_kind
        farthest = _farthest(matrix, z, max(fit.kept.n_spikes, fit.kept.n_climbed if is_climbed else 0))
        if is_climbed:
            columns |= farthest.first(fit.kept.n_climbed).as_columns(_CLIMBED)
        tops.append(farthest.first(fit.kept.n_spikes).moved(start))
        start += group.columns.n_neurons
    columns |= _merged(tops, fit.kept.n_spikes).as_columns(_TOP)
    for name, learnt in fit.learnt.items():
        detector = find_detectors()[name]
        assert isinstance(detector, NeuronDetector), f"{name} learnt from neurons"
        columns[name] = pa.array(detector.score(learnt, read(neuron_columns(detector, fit.sites))))
    return columns


class _Neurons(NamedTuple):
    """Neurons of every prompt, farthest first: where they stand, z and activation, [prompt, rank] each."""

    at: npt.NDArray[np.int64]
    z: Matrix
    activation: Matrix

    def first(self, n: int) -> _Neurons:
        return _Neurons(self.at[:, :n], self.z[:, :n], self.activation[:, :n])

    def moved(self, by: int) -> _Neurons:
        return self._replace(at=self.at + by)

    def chosen(self, ranks: npt.NDArray[np.int64]) -> _Neurons:
        z, activation = (np.take_along_axis(values, ranks, axis=1) for values in (self.z, self.activation))
        return _Neurons(np.take_along_axis(self.at, ranks, axis=1), z, activation)

    def as_columns(self, name: str) -> dict[str, pa.Array]:
        return {
            f"{name}/{_NEURON}": _lists(self.at.astype(np.int32)),
            f"{name}/{_Z}": _lists(self.z),
            f"{name}/{_ACTIVATION}": _lists(self.activation),
        }


def _farthest(matrix: Matrix, z: Matrix, n: int) -> _Neurons:
    """Return the `n` neurons of each prompt that are farthest from their baseline."""
    n = min(n, z.shape[1])
    at = np.array([largest(np.abs(row), n) for row in z], dtype=np.int64).reshape(len(z), n)
    return _Neurons(at, np.take_along_axis(z, at, axis=1), np.nan_to_num(np.take_along_axis(matrix, at, axis=1)))


def _merged(kinds: Sequence[_Neurons], n: int) -> _Neurons:
    """Return the `n` farthest neurons of several kinds of site; of equal ones those of the first kind."""
    at = np.concatenate([neurons.at for neurons in kinds], axis=1)
    z = np.concatenate([neurons.z for neurons in kinds], axis=1)
    activation = np.concatenate([neurons.activation for neurons in kinds], axis=1)
    return _Neurons(at, z, activation).chosen(np.argsort(-np.abs(z), axis=1, kind="stable")[:, :n])


def _lists(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """Return [prompt, value] as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def read_kept(
    groups: Sequence[GroupScores], candidates: Shards, positions: Collection[int], kept: Kept
) -> dict[int, PromptNeurons]:
    """Return what the neurons of those of `positions` show that lie in reduced shards, by position.

    Args:
        kept: how many neurons to list; at most as many as the shards hold.
    """
    columns = Columns(tuple(column for group in groups for column in group.columns))
    climbed = next((group.columns for group in groups if group.kind == kept.climbed_kind), None)
    names = [f"{_TOP}/{of}" for of in (_NEURON, _Z, _ACTIVATION)]
    names += [] if climbed is None else [f"{_CLIMBED}/{of}" for of in (_NEURON, _Z, _ACTIVATION)]
    for group in groups:
        names += [spike_column(group.kind), f"{group.kind}/{_RMS_Z}", f"{group.kind}/{_N_SPIKING}"]
    found = {}
    for position, row in candidates.reduced(names, positions):
        totals = {g.kind: max(row[spike_column(g.kind)] ** 2 * g.columns.n_neurons, 1e-30) for g in groups}
        found[position] = PromptNeurons(
            _spikes(row, _TOP, columns, totals)[: kept.n_spikes],
            [] if climbed is None else _spikes(row, _CLIMBED, climbed, totals)[: kept.n_climbed],
            [profile for group in groups for profile in _profiles(row, group)],
        )
    return found


def _spikes(row: Mapping[str, Any], name: str, columns: Columns, totals: Mapping[str, float]) -> list[Spike]:
    """Return the listed neurons of one prompt.

    Args:
        totals: sum of z² over all neurons of a kind.
    """
    where = columns.neurons_at(np.array(row[f"{name}/{_NEURON}"], dtype=np.int64))
    listed = zip(where, row[f"{name}/{_Z}"], row[f"{name}/{_ACTIVATION}"], strict=True)
    return [Spike(column, neuron, a, z, z * z / totals[column.site.kind]) for (column, neuron), z, a in listed]


def _profiles(row: Mapping[str, Any], group: GroupScores) -> list[SiteProfile]:
    n_read = {site: sum(c.site.n_neurons for c in group.columns if c.site == site) for site in group.columns.sites}
    listed = zip(n_read.items(), row[f"{group.kind}/{_RMS_Z}"], row[f"{group.kind}/{_N_SPIKING}"], strict=True)
    return [SiteProfile(site, rms_z, n_spiking / n) for (site, n), rms_z, n_spiking in listed]
