"""Score recorded prompts: baselines from the reference, spike scores, p-values, and the neurons behind each flag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audit.baseline import Baseline, Matrix, fit_baseline, z_scores
from audit.calibration import cross_fit, fit_null, fold_of, p_values, q_values, threshold_at
from audit.detectors.spikes import SCORED_REDUCTIONS, SPIKE_SCORE_KIND, spike_scores
from audit.detectors.text_conditional_noise import text_conditional_noise
from audit.recording import PROMPT_FOLDER, STEP_FOLDER
from hooks import Site, read_activations

Vector = npt.NDArray[np.float64]

MAX_SELF_REFERENCE = 2000
"""Without reference prompts, at most this many candidates are held in memory to learn the baseline from."""


@dataclass(frozen=True, slots=True)
class Column:
    """One scored neuron group: where its activations lie in the shards."""

    site: Site
    reduction: str

    @property
    def name(self) -> str:
        return f"{self.site.name}/{self.reduction}"

    @property
    def token_class(self) -> str:
        """start, prompt, end or padding at prompt sites; `all` at step sites, which have no token axis."""
        return self.reduction.split("_")[0] if self.site.is_prompt_site else "all"


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Spike scores of one kind of site: candidates' and reference prompts' (out-of-fold), and their baselines."""

    kind: str
    columns: tuple[Column, ...]
    candidates: Vector
    reference: Vector
    baselines: tuple[Baseline, ...]  # one a fold of the candidates when they calibrate themselves, else one


@dataclass(frozen=True, slots=True)
class Spike:
    """One neuron of one prompt, far from its baseline."""

    column: Column
    neuron: int
    activation: float
    z: float


class Shards:
    """The shards of one recorded set, read one at a time; step sites are averaged over seeds."""

    def __init__(self, folder: Path, n_shards: int, n_seeds: int) -> None:
        self._folder, self._n_shards, self._n_seeds = folder, n_shards, n_seeds

    def matrices(self, columns: Sequence[Column]) -> Iterator[Matrix]:
        """The columns' neurons side by side, shard by shard: [prompt, neuron]."""
        names = [column.name for column in columns]
        is_prompt_site = columns[0].site.is_prompt_site
        for index in range(self._n_shards):
            arrays, _ = read_activations([self._path(index, is_prompt_site)], names)
            matrix = np.concatenate([arrays[name] for name in names], axis=1)
            yield matrix if is_prompt_site else self._mean_over_seeds(matrix)

    def text_conditional_noise(self) -> npt.NDArray[np.float64]:
        """Wen's norms: [prompt, seed]."""
        norms = []
        for index in range(self._n_shards):
            _, keys = read_activations([self._path(index, False)], [])
            norms.append(keys["text_conditional_noise"].to_numpy().reshape(-1, self._n_seeds))
        return np.concatenate(norms)

    def _path(self, index: int, is_prompt_site: bool) -> Path:
        return self._folder / (PROMPT_FOLDER if is_prompt_site else STEP_FOLDER) / f"part-{index:05d}.parquet"

    def _mean_over_seeds(self, matrix: Matrix) -> Matrix:
        by_seed = matrix.reshape(-1, self._n_seeds, matrix.shape[1])
        return np.asarray(by_seed.mean(axis=1), dtype=np.float32)


def score_group(
    kind: str, sites: Sequence[Site], candidates: Shards, reference: Shards | None, n_components: int
) -> GroupScores:
    """Score every candidate by the neurons of one kind of site.

    With reference prompts, the candidates are judged by a baseline fitted on all of them, and the null distribution by
    baselines that leave each reference prompt out. Without, candidates are their own reference, each left out of the
    baseline that judges it.
    """
    columns = tuple(Column(s, r) for s in sites if s.kind == kind for r in SCORED_REDUCTIONS[kind])
    held = _gather((reference or candidates).matrices(columns), None if reference else MAX_SELF_REFERENCE)
    folds, baselines = cross_fit(held, n_components)
    out_of_fold = _scores_by_fold(held, folds, baselines)
    if reference is not None:
        whole = fit_baseline(held, n_components)
        scores = np.concatenate([spike_scores(z_scores(m, whole)) for m in candidates.matrices(columns)])
        return GroupScores(kind, columns, scores, out_of_fold, (whole,))
    by_shard: list[Vector] = []
    start = 0
    for matrix in candidates.matrices(columns):
        folds_here = fold_of(start + len(matrix))[start:]
        by_shard.append(_scores_by_fold(matrix, folds_here, baselines))
        start += len(matrix)
    return GroupScores(kind, columns, np.concatenate(by_shard), out_of_fold, tuple(baselines))


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


def _gather(matrices: Iterator[Matrix], limit: int | None) -> Matrix:
    gathered: list[Matrix] = []
    for matrix in matrices:
        gathered.append(matrix)
        if limit is not None and sum(map(len, gathered)) >= limit:
            break
    return np.concatenate(gathered)[:limit]


def _scores_by_fold(matrix: Matrix, folds: npt.NDArray[np.int64], baselines: Sequence[Baseline]) -> Vector:
    scores = np.empty(len(matrix))
    for fold, baseline in enumerate(baselines):
        scores[folds == fold] = spike_scores(z_scores(matrix[folds == fold], baseline))
    return scores


def top_spikes(
    groups: Sequence[GroupScores], candidates: Shards, flagged: Sequence[int], n_top: int
) -> dict[int, list[Spike]]:
    """The neurons farthest from their baseline, over all groups, for each flagged candidate (by its position)."""
    found: dict[int, list[Spike]] = {position: [] for position in flagged}
    for group in groups:
        start = 0
        for matrix in candidates.matrices(group.columns):
            for position in flagged:
                if start <= position < start + len(matrix):
                    row = matrix[position - start : position - start + 1]
                    baseline = group.baselines[position % len(group.baselines)]  # the fold that left it out
                    found[position] += _top_of_row(row, baseline, group.columns, n_top)
            start += len(matrix)
    return {position: sorted(spikes, key=lambda s: -abs(s.z))[:n_top] for position, spikes in found.items()}


def _top_of_row(row: Matrix, baseline: Baseline, columns: Sequence[Column], n_top: int) -> list[Spike]:
    z = z_scores(row, baseline)[0]
    offsets = np.cumsum([0, *(column.site.n_neurons for column in columns)])
    spikes = []
    for index in np.argsort(-np.abs(z))[:n_top]:
        column = int(np.searchsorted(offsets, index, side="right")) - 1
        spikes.append(
            Spike(columns[column], int(index - offsets[column]), float(np.nan_to_num(row[0, index])), float(z[index]))
        )
    return spikes


@dataclass(frozen=True, slots=True)
class Scored:
    """Everything the detectors say of the candidates, one value a prompt, and what it was calibrated on."""

    detectors: dict[str, Vector]
    spike_score: Vector
    p_value: Vector
    q_value: Vector
    flagged: npt.NDArray[np.bool_]
    threshold: float
    reference_score: Vector
    groups: tuple[GroupScores, ...]


def score_candidates(
    sites: Sequence[Site], candidates: Shards, reference: Shards | None, *, n_components: int, fpr: float
) -> Scored:
    """Score and flag every candidate; without `reference` the candidates calibrate themselves."""
    contaminated = reference is None
    kinds = [kind for kind in SCORED_REDUCTIONS if any(site.kind == kind for site in sites)]
    groups = tuple(score_group(kind, sites, candidates, reference, n_components) for kind in kinds)
    detectors = {f"spikes_{group.kind}": group.candidates for group in groups}
    detectors["text_conditional_noise"] = text_conditional_noise(candidates.text_conditional_noise())
    of_candidates, of_reference = combine(groups)
    null = fit_null(of_reference, contaminated=contaminated)
    p = p_values(of_candidates, null)
    threshold = threshold_at(null, fpr)
    flagged = of_candidates >= threshold
    return Scored(detectors, of_candidates, p, q_values(p), flagged, threshold, of_reference, groups)


def combine(groups: Sequence[GroupScores]) -> tuple[Vector, Vector]:
    """The spike score, of candidates and of reference prompts: mean of the group scores that make it.

    Each is taken in units of its 99th reference percentile, so that a score above 1 is rare among clean prompts.
    """
    chosen = [group for group in groups if group.kind == SPIKE_SCORE_KIND] or list(groups)
    units = [max(float(np.quantile(group.reference, 0.99)), 1e-9) for group in chosen]
    of_candidates = np.mean([g.candidates / unit for g, unit in zip(chosen, units, strict=True)], axis=0)
    of_reference = np.mean([g.reference / unit for g, unit in zip(chosen, units, strict=True)], axis=0)
    return of_candidates, of_reference
