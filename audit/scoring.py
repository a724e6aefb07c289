"""Score recorded prompts by their neurons: baselines, spike scores, and the neurons behind each flag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.baseline import Baseline, Matrix, fit_baseline, z_scores
from audit.calibration import cross_fit, fold_of
from audit.detectors import NeuronDetector
from audit.detectors.spikes import SCORED_REDUCTIONS, SPIKE_SCORE_KIND, spike_scores
from audit.shards import Column, Shards
from hooks import Site
from reports.evidence_tables import SPIKE_LIMIT

Vector = npt.NDArray[np.float64]

MAX_SELF_REFERENCE = 2000
"""At most this many candidates are held in memory where they help to learn the baseline."""

SET_ASIDE = 0.15
"""This share of the candidates, the highest scores of a first pass, is left out of the baselines of the second."""


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Spike scores of one kind of site: candidates' and reference prompts' (out-of-fold), and their baselines.

    Args:
        baselines: one, fitted on the reference; or one a fold where candidates helped to fit them, the first
            candidate falling into fold `first_fold`.
    """

    kind: str
    columns: tuple[Column, ...]
    candidates: Vector
    reference: Vector
    baselines: tuple[Baseline, ...]
    first_fold: int = 0

    def baseline_of(self, candidate: int) -> Baseline:
        """The baseline that judged a candidate, by its position."""
        return self.baselines[(self.first_fold + candidate) % len(self.baselines)]


@dataclass(frozen=True, slots=True)
class Spike:
    """One neuron of one prompt, far from its baseline; `share` is its part of the squared score of its kind."""

    column: Column
    neuron: int
    activation: float
    z: float
    share: float


@dataclass(frozen=True, slots=True)
class SiteProfile:
    """One site for one prompt: root mean square of its neurons' z, and the share of them beyond `SPIKE_LIMIT`."""

    site: Site
    rms_z: float
    spike_share: float


def columns_of(kind: str, sites: Sequence[Site]) -> tuple[Column, ...]:
    """The columns of activations that make one kind's spike score."""
    return tuple(Column(site, r) for site in sites if site.kind == kind for r in SCORED_REDUCTIONS[kind])


def score_group(
    kind: str, sites: Sequence[Site], candidates: Shards, reference: Shards | None, *, n_components: int, pooled: bool
) -> GroupScores:
    """Score every candidate by the neurons of one kind of site.

    Args:
        pooled: the baseline is learnt from candidates too (always so without a reference). The candidates of the
            highest scores in a first pass, memorized ones among them, are then left out of the baselines of a
            second, and every prompt is judged by a baseline that it was left out of.
    """
    columns = columns_of(kind, sites)
    held = reference.matrix(columns) if reference is not None else None
    if held is not None and not pooled:
        folds, baselines = cross_fit(held, n_components)
        out_of_fold = _scores_by_fold(held, folds, baselines)
        whole = fit_baseline(held, n_components)
        scores = np.concatenate([spike_scores(z_scores(m, whole)) for m in candidates.matrices(columns)])
        return GroupScores(kind, columns, scores, out_of_fold, (whole,))
    own = candidates.matrix(columns, MAX_SELF_REFERENCE)
    n_reference = 0 if held is None else len(held)
    pool = own if held is None else np.concatenate([held, own])
    baselines, pool_scores = _robust_fit(pool, n_reference, n_components)
    by_shard: list[Vector] = []
    start = n_reference
    for matrix in candidates.matrices(columns):
        by_shard.append(_scores_by_fold(matrix, _folds(start, len(matrix), len(baselines)), baselines))
        start += len(matrix)
    scores = np.concatenate(by_shard)
    first_fold = n_reference % len(baselines)
    of_reference = pool_scores[:n_reference] if held is not None else scores
    return GroupScores(kind, columns, scores, of_reference, tuple(baselines), first_fold)


def _robust_fit(pool: Matrix, n_reference: int, n_components: int) -> tuple[list[Baseline], Vector]:
    """Baselines by fold, fitted without the most suspicious candidates, and the score of each prompt of the pool."""
    folds, baselines = cross_fit(pool, n_components)
    scores = _scores_by_fold(pool, folds, baselines)
    n_aside = int(SET_ASIDE * (len(pool) - n_reference))
    fitted = scores <= np.sort(scores[n_reference:])[-n_aside - 1]
    fitted[:n_reference] = True
    folds, baselines = cross_fit(pool, n_components, fitted)
    return baselines, _scores_by_fold(pool, folds, baselines)


def _folds(start: int, n: int, n_folds: int) -> npt.NDArray[np.int64]:
    return fold_of(start + n)[start:] % n_folds


def _scores_by_fold(matrix: Matrix, folds: npt.NDArray[np.int64], baselines: Sequence[Baseline]) -> Vector:
    scores = np.empty(len(matrix))
    for fold, baseline in enumerate(baselines):
        scores[folds == fold] = spike_scores(z_scores(matrix[folds == fold], baseline))
    return scores


def score_groups(
    sites: Sequence[Site], candidates: Shards, reference: Shards | None, *, n_components: int, pooled: bool
) -> tuple[GroupScores, ...]:
    """Score every candidate by each recorded kind of site."""
    kinds = [kind for kind in SCORED_REDUCTIONS if any(site.kind == kind for site in sites)]
    return tuple(
        score_group(kind, sites, candidates, reference, n_components=n_components, pooled=pooled) for kind in kinds
    )


def combine(groups: Sequence[GroupScores]) -> tuple[Vector, Vector]:
    """The spike score, of candidates and of reference prompts: mean of the group scores that make it.

    Each is taken in units of its 99th reference percentile, so that a score above 1 is rare among clean prompts.
    """
    chosen = [group for group in groups if group.kind == SPIKE_SCORE_KIND] or list(groups)
    units = [max(float(np.quantile(group.reference, 0.99)), 1e-9) for group in chosen]
    of_candidates = np.mean([g.candidates / unit for g, unit in zip(chosen, units, strict=True)], axis=0)
    of_reference = np.mean([g.reference / unit for g, unit in zip(chosen, units, strict=True)], axis=0)
    return of_candidates, of_reference


def score_neurons(
    detector: NeuronDetector, sites: Sequence[Site], candidates: Shards, reference: Shards | None
) -> Vector:
    """A published neuron detector's score of each candidate, learnt from the reference or else the candidates."""
    columns = [Column(site, detector.reduction) for site in sites if site.kind == detector.kind]
    score = detector.fit((reference or candidates).matrix(columns, MAX_SELF_REFERENCE))
    return np.concatenate([score(matrix) for matrix in candidates.matrices(columns)])


def baseline_arrays(groups: Sequence[GroupScores]) -> dict[str, npt.NDArray[np.float32]]:
    """Location [neuron], scale [neuron] and components [component, neuron] by `kind/fold/name`, neurons by column."""
    return {
        f"{group.kind}/{fold}/{name}": np.ascontiguousarray(getattr(baseline, name))
        for group in groups
        for fold, baseline in enumerate(group.baselines)
        for name in ("location", "scale", "components")
    }


def baseline_columns(groups: Sequence[GroupScores]) -> dict[str, str]:
    """Which columns of the shards a kind's neurons are, in their order, by kind."""
    return {group.kind: " ".join(column.name for column in group.columns) for group in groups}


def top_spikes(
    groups: Sequence[GroupScores], candidates: Shards, flagged: Sequence[int], n_top: int
) -> dict[int, list[Spike]]:
    """The neurons farthest from their baseline, over all groups, for each flagged candidate (by its position)."""
    found: dict[int, list[Spike]] = {position: [] for position in flagged}
    for group, position, row, z in _rows_of(groups, candidates, flagged):
        found[position] += _top_of_row(row, z, group.columns, n_top)
    return {position: sorted(spikes, key=lambda s: -abs(s.z))[:n_top] for position, spikes in found.items()}


def site_profiles(
    groups: Sequence[GroupScores], candidates: Shards, positions: Sequence[int]
) -> dict[int, list[SiteProfile]]:
    """What each scored site shows for each of the candidates at `positions`, in the sites' order."""
    found: dict[int, list[SiteProfile]] = {position: [] for position in positions}
    for group, position, _, z in _rows_of(groups, candidates, positions):
        parts = np.split(z, np.cumsum([column.site.n_neurons for column in group.columns])[:-1])
        by_site: dict[Site, list[Vector]] = {}
        for column, part in zip(group.columns, parts, strict=True):
            by_site.setdefault(column.site, []).append(part.astype(np.float64))
        for site, of_site in by_site.items():
            values = np.concatenate(of_site)
            rms, share = float(np.sqrt(np.square(values).mean())), float((np.abs(values) > SPIKE_LIMIT).mean())
            found[position].append(SiteProfile(site, rms, share))
    return found


def _rows_of(
    groups: Sequence[GroupScores], candidates: Shards, positions: Sequence[int]
) -> Iterator[tuple[GroupScores, int, Matrix, npt.NDArray[np.float32]]]:
    """Each group's activations, [1, neuron], and z-scores, [neuron], of the candidates at `positions`."""
    for group in groups:
        start = 0
        for matrix in candidates.matrices(group.columns):
            for position in positions:
                if start <= position < start + len(matrix):
                    row = matrix[position - start : position - start + 1]
                    yield group, position, row, z_scores(row, group.baseline_of(position))[0]
            start += len(matrix)


def _top_of_row(row: Matrix, z: npt.NDArray[np.float32], columns: Sequence[Column], n_top: int) -> list[Spike]:
    total = max(float(np.square(z, dtype=np.float64).sum()), 1e-30)
    offsets = np.cumsum([0, *(column.site.n_neurons for column in columns)])
    spikes = []
    for index in np.argsort(-np.abs(z))[:n_top]:
        column = int(np.searchsorted(offsets, index, side="right")) - 1
        value = float(z[index])
        activation = float(np.nan_to_num(row[0, index]))
        spikes.append(Spike(columns[column], int(index - offsets[column]), activation, value, value**2 / total))
    return spikes
