"""Score recorded prompts by their neurons: baselines and spike scores.

Finding NeMo (Hintersdorf et al. 2024, arXiv 2406.02366) detects memorized prompts by single neurons of the
cross-attention values whose z-score stands out. Here every kind of site is scored in the same way; the UNet's
feed-forward neurons turn out to be the best witnesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from flashbulb.audit.detectors import Matrix, NeuronDetector, Vector
from flashbulb.audit.record.columns import Column, Columns
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.baseline import Baseline, fit_baseline, spike_scores
from flashbulb.audit.statistics.calibration import cross_fit
from flashbulb.hooks import Site

SOURCE = "Flashbulb; after Hintersdorf et al. 2024, arXiv 2406.02366"
SCORED_REDUCTIONS: dict[str, tuple[str, ...]] = {
    "text_mlp": ("prompt_mean", "end_mean"),
    "cross_k": ("prompt_mean", "end_mean"),
    "cross_v": ("prompt_mean", "end_mean"),
    "cross_out": ("mean",),
    "feed_forward": ("abs_max",),
}
SPIKE_SCORE_KIND = "feed_forward"
"""The kind of site that makes the spike score; where it is not recorded, all recorded kinds count alike."""

MAX_SELF_REFERENCE = 2000
"""Candidates held in memory, at most, where they help to fit the baseline."""

SET_ASIDE = 0.15
"""Share of the candidates, the highest scores of a first pass, that the baselines of a second pass leave out."""


class Rows(Protocol):
    """The neurons of a set of prompts."""

    def matrices(self, columns: Columns) -> Iterator[Matrix]:
        """Yield the neurons of the columns side by side, some prompts at a time: [prompt, neuron]."""


@dataclass(frozen=True, slots=True)
class GroupFit:
    """What candidates' spike scores depend on, for one kind of site; the fields are those of `GroupScores`.

    Args:
        reference: out-of-fold scores of reference prompts: [prompt]; None where candidates are their own reference.
    """

    kind: str
    columns: Columns
    reference: Vector | None
    baselines: tuple[Baseline, ...]
    first_fold: int = 0

    def folds(self, first: int, n: int) -> npt.NDArray[np.int64]:
        """Return the baseline that each of `n` candidates is compared with, from the position `first` on: [prompt]."""
        return (self.first_fold + np.arange(first, first + n)) % len(self.baselines)

    def score(self, matrix: Matrix, first: int) -> Vector:
        """Return the spike scores of candidates from the position `first` on: [prompt, neuron] -> [prompt]."""
        return spike_scores(matrix, self.baselines, self.folds(first, len(matrix)))

    def scored(self, candidates: Vector) -> GroupScores:
        """Return the scores of all candidates together with those of the reference."""
        reference = candidates if self.reference is None else self.reference
        return GroupScores(self.kind, self.columns, candidates, reference, self.baselines, self.first_fold)


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Spike scores of candidates and (out-of-fold) of reference prompts for one kind of site, and their baselines.

    Args:
        baselines: a single one fitted on the reference; or one a fold where candidates helped to fit them. The first
            candidate belongs to fold `first_fold`.
    """

    kind: str
    columns: Columns
    candidates: Vector
    reference: Vector
    baselines: tuple[Baseline, ...]
    first_fold: int = 0

    def baseline_of(self, candidate: int) -> Baseline:
        """Return the baseline that a candidate is compared with, by its position."""
        return self.baselines[(self.first_fold + candidate) % len(self.baselines)]


def columns_of(kind: str, sites: Sequence[Site]) -> Columns:
    """Return the columns of activations that make one kind's spike score."""
    return Columns(tuple(Column(site, r) for site in sites if site.kind == kind for r in SCORED_REDUCTIONS[kind]))


def score_group(
    kind: str, sites: Sequence[Site], candidates: Rows, reference: Shards | None, *, n_components: int, pooled: bool
) -> GroupScores:
    """Score every candidate by the neurons of one kind of site.

    Args:
        pooled: fit the baseline on candidates too; always so without a reference. A first pass then finds the
            candidates with the highest scores, memorized ones among them; the baselines of a second pass leave these
            out, and every prompt is compared with a baseline that it did not help to fit.
    """
    columns = columns_of(kind, sites)
    if reference is not None and not pooled:
        fit, matrices = fit_group(kind, sites, None, reference, n_components=n_components), candidates.matrices(columns)
    else:
        own, matrices = _read_once(candidates, columns)
        fit = fit_group(kind, sites, own, reference, n_components=n_components)
    scores: list[Vector] = [np.zeros(0)]
    for matrix in matrices:
        scores.append(fit.score(matrix, sum(map(len, scores))))
    return fit.scored(np.concatenate(scores))


def fit_group(
    kind: str, sites: Sequence[Site], own: Matrix | None, reference: Rows | None, *, n_components: int
) -> GroupFit:
    """Fit the baselines of one kind of site.

    Args:
        own: the first candidates, at most `MAX_SELF_REFERENCE`, where they help to fit: [prompt, neuron].
    """
    columns = columns_of(kind, sites)
    clean = None if reference is None else np.concatenate(list(reference.matrices(columns)))
    if own is None:
        assert clean is not None, "without a reference, candidates fit the baselines"
        folds, baselines = cross_fit(clean, n_components)
        return GroupFit(kind, columns, spike_scores(clean, baselines, folds), (fit_baseline(clean, n_components),))
    n_reference = 0 if clean is None else len(clean)
    pool = own if clean is None else np.concatenate([clean, own])
    baselines, pool_scores = _robust_fit(pool, n_reference, n_components)
    reference_scores = None if clean is None else pool_scores[:n_reference]
    return GroupFit(kind, columns, reference_scores, tuple(baselines), n_reference % len(baselines))


def score_recorded(fit: GroupFit, candidates: Shards) -> GroupScores:
    """Score candidates with baselines that are fitted already; where shards are reduced, they hold the scores."""
    return fit.scored(candidates.scores(fit.columns, spike_column(fit.kind), fit.score))


def spike_column(kind: str) -> str:
    """Return the name of a kind's spike score, as a detector."""
    return f"spikes_{kind}"


def _read_once(candidates: Rows, columns: Columns) -> tuple[Matrix, Iterator[Matrix]]:
    """Return the first candidates, at most `MAX_SELF_REFERENCE`, and the matrix of every shard.

    The shards of the first candidates stay in memory, so that none is read twice.
    """
    unread = candidates.matrices(columns)
    parts: list[Matrix] = []
    for part in unread:
        parts.append(part)
        if sum(map(len, parts)) >= MAX_SELF_REFERENCE:
            break
    held = np.concatenate(parts)
    ends = np.cumsum([len(part) for part in parts])
    return held[:MAX_SELF_REFERENCE], chain(np.split(held, ends[:-1]), unread)


def _robust_fit(pool: Matrix, n_reference: int, n_components: int) -> tuple[list[Baseline], Vector]:
    """Fit a baseline a fold without the candidates of the highest scores, and score each prompt of the pool."""
    folds, baselines = cross_fit(pool, n_components)
    scores = spike_scores(pool, baselines, folds)
    n_aside = int(SET_ASIDE * (len(pool) - n_reference))
    fitted = scores <= np.sort(scores[n_reference:])[-n_aside - 1]
    fitted[:n_reference] = True
    folds, baselines = cross_fit(pool, n_components, fitted)
    return baselines, spike_scores(pool, baselines, folds)


def scored_kinds(sites: Sequence[Site]) -> list[str]:
    """Return the recorded kinds of site that have a spike score."""
    return [kind for kind in SCORED_REDUCTIONS if any(site.kind == kind for site in sites)]


def combine(groups: Sequence[GroupScores], scale: Sequence[GroupScores] | None = None) -> tuple[Vector, Vector]:
    """Combine group scores into the spike score of candidates and of reference prompts: their mean.

    Args:
        scale: groups of the same kinds whose units are used instead, so that two models have the same unit.
    """
    chosen = _chosen(groups)
    units = [unit_of(group.reference) for group in _chosen(scale or groups)]
    candidate_scores = np.mean([g.candidates / unit for g, unit in zip(chosen, units, strict=True)], axis=0)
    reference_scores = np.mean([g.reference / unit for g, unit in zip(chosen, units, strict=True)], axis=0)
    return candidate_scores, reference_scores


def unit_of(reference: Vector) -> float:
    """Return by what scores are divided, so that one above 1 is rare among clean prompts: their 99th percentile."""
    return max(float(np.quantile(reference, 0.99)), 1e-9)


def _chosen(groups: Sequence[GroupScores]) -> list[GroupScores]:
    return [group for group in groups if group.kind == SPIKE_SCORE_KIND] or list(groups)


def neuron_columns(detector: NeuronDetector, sites: Sequence[Site]) -> Columns:
    """Return the columns of activations that a published detector reads; none where their kind is not recorded."""
    return Columns(tuple(Column(site, detector.reduction) for site in sites if site.kind == detector.kind))


def score_neurons(
    detector: NeuronDetector, sites: Sequence[Site], candidates: Shards, reference: Shards | None
) -> Vector:
    """Score each candidate by a published neuron detector, fitted on the reference or else on the candidates."""
    columns = neuron_columns(detector, sites)
    if reference is None:
        clean, matrices = _read_once(candidates, columns)
    else:
        clean, matrices = reference.matrix(columns, MAX_SELF_REFERENCE), candidates.matrices(columns)
    learnt = detector.fit(clean)
    return np.concatenate([detector.score(learnt, matrix) for matrix in matrices])


def baseline_arrays(groups: Sequence[GroupScores | GroupFit]) -> dict[str, npt.NDArray[np.float32]]:
    """Return location [neuron], scale [neuron] and components [component, neuron] by `kind/fold/name`."""
    return {
        f"{group.kind}/{fold}/{name}": np.ascontiguousarray(getattr(baseline, name))
        for group in groups
        for fold, baseline in enumerate(group.baselines)
        for name in ("location", "scale", "components")
    }


def baseline_columns(groups: Sequence[GroupScores]) -> dict[str, str]:
    """Return the names of the columns that hold a kind's neurons, in their order, by kind."""
    return {group.kind: " ".join(group.columns.names) for group in groups}
