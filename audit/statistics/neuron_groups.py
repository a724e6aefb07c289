"""Group the neurons that spike together in several flagged prompts, and drop groups that chance explains.

Each prompt lists its neurons of highest |z|. The similarity of two neurons is the Jaccard similarity of the sets of
prompts that list them. Groups are clusters of average linkage; connected components would join two memories that share
one neuron. A merge at mean similarity J needs at least one pair that similar. Each connected component of such pairs is
therefore clustered separately: the result is the same except for ties, and thousands of prompts take seconds.

Chance: suppose prompt p draws the k_p neurons it lists at random from all `n_neurons`. The probability that each of m
fixed neurons is listed by at least h of s fixed prompts is at most a product of binomial tails (for unequal k_p:
Hoeffding, Ann. Math. Stat. 27, 1956). Neurons, prompts and h are chosen after the fact. The p-value is therefore this
bound times binom(n, s) s(s+1) s binom(n_neurons, m) m(m+1), a weighted count of the choices. It bounds how often random
spikes give any such group. Style: neurons that respond to a style also spike together, so unflagged prompts are the
control. If some list most of a group, the p-value is at least the chance of as many flagged prompts at their rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from scipy.special import bdtrc, betaln

from flashbulb.reports.tables.evidence import NEURON_GROUPS_SCHEMA

MIN_JACCARD, MAX_P_VALUE = 0.5, 0.01
"""Defaults. Shuffled tables of the embedded model give a few pairs at a similarity of 0.4, and hardly any at 0.5."""

_ROUNDING = 1e-9
_Vector = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.intp]
_Key = tuple[str, int, str, bool]  # site, neuron, token class, whether z is positive


@dataclass(frozen=True, slots=True)
class ListedNeuron:
    """A neuron of highest |z| in one prompt; `z` keeps its sign: opposite signs are different spikes."""

    site: str
    neuron: int
    token_class: str
    z: float

    @property
    def key(self) -> _Key:
        return self.site, self.neuron, self.token_class, self.z > 0


@dataclass(frozen=True, slots=True)
class GroupedNeuron:
    """A neuron of a group, over all flagged prompts that list it with the same sign of z."""

    site: str
    neuron: int
    token_class: str
    mean_z: float
    prompt_ids: tuple[str, ...]
    expected_prompts: float  # number expected by chance, or at the rate of unflagged prompts if that is larger


@dataclass(frozen=True, slots=True)
class NeuronGroup:
    """Neurons listed by the same flagged prompts; `prompt_ids` are those that list more than half of them."""

    neurons: tuple[GroupedNeuron, ...]
    prompt_ids: tuple[str, ...]
    p_value: float  # bound on the probability that random spikes, or style, give any such group
    unflagged_share: float | None  # share of unflagged prompts that list more than half; None without a control
    n_findings: int | None  # distinct findings among `prompt_ids`; None if unknown


@dataclass(frozen=True, slots=True)
class _Listing:
    """Which prompts list which neurons; both are sorted, so the order of the input does not matter."""

    keys: tuple[_Key, ...]  # [neuron]
    prompt_ids: tuple[str, ...]  # [prompt]
    z: sparse.csr_array  # [neuron, prompt]; no entry where the prompt does not list the neuron
    chance: _Vector  # [prompt]: probability that it lists any one neuron, k_p / n_neurons
    control: sparse.csr_array | None  # [neuron, unflagged prompt]: z of the same neurons


def group_neurons(
    flagged: Mapping[str, Sequence[ListedNeuron]],
    *,
    n_neurons: int,
    min_prompts: int,
    min_jaccard: float,
    max_p_value: float,
    unflagged: Mapping[str, Sequence[ListedNeuron]] | None,
    findings: Mapping[str, str] | None,
) -> tuple[NeuronGroup, ...]:
    """Group the neurons that at least `min_prompts` flagged prompts list, largest groups first.

    Args:
        flagged: neurons of highest |z| of every flagged prompt, by prompt_id; those with z = 0 do not count.
        n_neurons: number of neurons they are chosen from: all scored (site, neuron, token class).
        min_prompts: smallest number of prompts of a group, at least 2.
        min_jaccard: smallest similarity between a neuron's prompts and its group's, in (0, 1].
        max_p_value: groups with a larger p-value are dropped.
        unflagged: the same for unflagged prompts, as many neurons each; the control for style, None without one.
        findings: finding of each prompt that has one, by prompt_id, for `n_findings`; None if unknown.

    Raises:
        ValueError: `min_prompts` or `min_jaccard` is out of range, or more neurons are listed than `n_neurons`.
    """
    if min_prompts < 2 or not 0 < min_jaccard <= 1:
        raise ValueError(f"min_prompts {min_prompts} must be at least 2, min_jaccard {min_jaccard} in (0, 1]")
    listing = _lay_out(flagged, unflagged, n_neurons)
    frequent = np.flatnonzero(np.diff(listing.z.indptr) >= min_prompts)
    kept: dict[int, NeuronGroup] = {}  # by first neuron
    for cluster in _clusters(listing.z[frequent], min_jaccard) if len(frequent) else ():
        for rows in _split_misfits(listing.z, frequent[cluster], min_prompts, min_jaccard):
            p_value = _p_value(listing, rows, n_neurons)
            if p_value <= max_p_value:
                kept[rows[0]] = _describe(listing, rows, p_value, findings)
    return tuple(kept[row] for row in sorted(kept, key=lambda r: (-len(kept[r].neurons), -len(kept[r].prompt_ids), r)))


def neuron_groups_table(groups: Sequence[NeuronGroup]) -> pa.Table:
    """Return a table with one row per neuron of a group, in the order of `groups`."""
    rows = [
        {
            "group_id": f"group-{number:03d}",
            "site": neuron.site,
            "neuron": neuron.neuron,
            "token_class": neuron.token_class,
            "n_prompts": len(neuron.prompt_ids),
            "mean_z": neuron.mean_z,
            "expected_prompts": neuron.expected_prompts,
            "prompt_ids": list(neuron.prompt_ids),
            "n_group_prompts": len(group.prompt_ids),
            "n_findings": group.n_findings,
            "unflagged_share": group.unflagged_share,
            "p_value": group.p_value,
        }
        for number, group in enumerate(groups, start=1)
        for neuron in group.neurons
    ]
    return pa.Table.from_pylist(rows, schema=NEURON_GROUPS_SCHEMA)


def _lay_out(
    flagged: Mapping[str, Sequence[ListedNeuron]],
    unflagged: Mapping[str, Sequence[ListedNeuron]] | None,
    n_neurons: int,
) -> _Listing:
    by_prompt = {prompt: _z_by_neuron(flagged[prompt]) for prompt in sorted(flagged)}
    keys = sorted({key for listed in by_prompt.values() for key in listed})
    n_listed = len({key[:3] for key in keys})
    if n_listed > n_neurons:
        raise ValueError(f"the prompts list {n_listed} neurons of {n_neurons}; count every scored neuron in n_neurons")
    control = _matrix([_z_by_neuron(listed) for listed in unflagged.values()], keys) if unflagged else None
    chance = np.array([len(listed) for listed in by_prompt.values()]) / n_neurons
    return _Listing(tuple(keys), tuple(by_prompt), _matrix(list(by_prompt.values()), keys), chance, control)


def _matrix(by_prompt: Sequence[Mapping[_Key, float]], keys: Sequence[_Key]) -> sparse.csr_array:
    row_of = {key: row for row, key in enumerate(keys)}
    cells = [(row_of[key], j, z) for j, listed in enumerate(by_prompt) for key, z in listed.items() if key in row_of]
    rows, columns, values = np.array(cells, dtype=float).reshape(-1, 3).T
    return sparse.csr_array((values, (rows.astype(int), columns.astype(int))), (len(keys), len(by_prompt)))


def _z_by_neuron(listed: Sequence[ListedNeuron]) -> dict[_Key, float]:
    """Return z by neuron; of a neuron listed twice, the z of larger magnitude."""
    return {s.key: s.z for s in sorted(listed, key=lambda s: abs(s.z)) if s.z}


def _clusters(z: sparse.csr_array, min_jaccard: float) -> Iterator[_Rows]:
    """Yield the rows of `z` [neuron, prompt] in average-linkage clusters of mean similarity `min_jaccard` or more."""
    listed = (z != 0).astype(np.int32)
    sizes = listed.sum(axis=1)
    shared = sparse.coo_array(listed @ listed.T)
    near = shared.data >= (min_jaccard - _ROUNDING) * (sizes[shared.row] + sizes[shared.col] - shared.data)
    graph = sparse.coo_array((shared.data[near], (shared.row[near], shared.col[near])), shared.shape)
    _, component_of = connected_components(graph, directed=False)
    order = np.argsort(component_of, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(component_of[order])) + 1):
        if len(rows) == 1:
            yield rows
            continue
        common = (listed[rows] @ listed[rows].T).toarray()
        distance = 1 - common / (sizes[rows, None] + sizes[None, rows] - common)
        tree = linkage(squareform(distance, checks=False), "average")
        cluster_of = fcluster(tree, 1 - min_jaccard + _ROUNDING, "distance")
        yield from (rows[cluster_of == cluster] for cluster in np.unique(cluster_of))


def _split_misfits(z: sparse.csr_array, rows: _Rows, min_prompts: int, min_jaccard: float) -> Iterator[_Rows]:
    """Yield the rows that are similar to their group's prompts together, and each other row alone."""
    while len(rows) > 1:
        listed = z[rows].toarray() != 0
        core = _core(listed)
        similarity = (listed & core).sum(axis=1) / (listed | core).sum(axis=1)
        fits = (similarity >= min_jaccard - _ROUNDING) & (core.sum() >= min_prompts)
        if fits.all():
            break
        yield from rows[~fits, None]
        rows = rows[fits]
    if len(rows):
        yield rows


def _core(listed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which prompts list more than half of the neurons: [neuron, prompt] -> [prompt]."""
    return np.asarray(2 * listed.sum(axis=0) > len(listed))


def _p_value(listing: _Listing, rows: _Rows, n_neurons: int) -> float:
    """Bound the probability that random spikes, or style, give any group this large and this similar."""
    listed = listing.z[rows].toarray() != 0
    core = _core(listed)
    m, s, n = len(rows), int(core.sum()), len(core)
    h = (listed & core).sum(axis=1).min()
    log_tail = np.log(max(bdtrc(h - 1, s, listing.chance[core].mean()), np.finfo(float).tiny))
    log_sets = -betaln(n - s + 1, s + 1) - np.log(n + 1) - betaln(n_neurons - m + 1, m + 1) - np.log(n_neurons + 1)
    log_weights = np.log(s * s * (s + 1.0)) + np.log(m * (m + 1.0))
    by_chance = float(np.exp(min(0.0, log_sets + log_weights + m * log_tail)))
    return max(by_chance, float(bdtrc(s - 1, n, _unflagged_share(listing, rows) or 0.0)))


def _unflagged_share(listing: _Listing, rows: _Rows) -> float | None:
    return None if listing.control is None else float(_core(listing.control[rows].toarray() != 0).mean())


def _describe(listing: _Listing, rows: _Rows, p_value: float, findings: Mapping[str, str] | None) -> NeuronGroup:
    z = listing.z[rows].toarray()
    neurons = tuple(_grouped_neuron(listing, int(row), z_row) for row, z_row in zip(rows, z, strict=True))
    prompt_ids = tuple(compress(listing.prompt_ids, _core(z != 0)))
    n_findings = None if findings is None else len({findings[p] for p in prompt_ids if p in findings})
    return NeuronGroup(neurons, prompt_ids, p_value, _unflagged_share(listing, rows), n_findings)


def _grouped_neuron(listing: _Listing, row: int, z: _Vector) -> GroupedNeuron:
    site, neuron, token_class, _ = listing.keys[row]
    unflagged_share = _unflagged_share(listing, np.array([row])) or 0.0
    return GroupedNeuron(
        *(site, neuron, token_class),
        mean_z=float(z[z != 0].mean()),
        prompt_ids=tuple(compress(listing.prompt_ids, z != 0)),
        expected_prompts=max(float(listing.chance.sum()), unflagged_share * len(z)),
    )
