"""What each choice in the spike score contributes: AUC / TPR at FPR <= 1 % on every planted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flashbulb.audit.record.columns import Column, Columns
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.baseline import Baseline, fit_baseline, z_scores
from flashbulb.audit.statistics.scores import SCORED_REDUCTIONS
from flashbulb.audit.statistics.separation import auc, tpr_at_fpr
from flashbulb.audit.statistics.style import group_by_style
from tests.audit.styles import is_new_style
from tests.bench.detection.recorded import N_SEEDS, Planted, record_planted

FPR = 0.01
ROOT_MEAN_SQUARE = "root mean square"
STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    ROOT_MEAN_SQUARE: lambda z: np.sqrt((z**2).mean(axis=1)),
    "number of neurons beyond z = 3": lambda z: (np.abs(z) > 3).mean(axis=1) + 1e-6 * np.abs(z).mean(axis=1),
    "mean of the 20 largest z": lambda z: np.sort(np.abs(z), axis=1)[:, -20:].mean(axis=1),
    "mean of the 200 largest z": lambda z: np.sort(np.abs(z), axis=1)[:, -200:].mean(axis=1),
}


@dataclass(frozen=True)
class Choice:
    """A variant of the spike score; the defaults are those of the product."""

    kinds: tuple[str, ...] = ("feed_forward",)
    reduction: str | None = None  # None: the default of the kind
    n_seeds: int = 4
    n_components: int = 10
    statistic: str = ROOT_MEAN_SQUARE
    mean_and_deviation: bool = False
    by_style: bool = False


def score(planted: Planted, choice: Choice) -> np.ndarray:
    """Scores of all rows by a baseline of the reference: [row]; several kinds count alike."""
    scores = []
    for kind in choice.kinds:
        reductions = SCORED_REDUCTIONS[kind] if choice.reduction is None else (choice.reduction,)
        columns = Columns(tuple(Column(site, r) for site in planted.sites if site.kind == kind for r in reductions))
        key = (choice.n_seeds, *columns.names)
        if key not in planted.cache:
            whole = planted.shards
            shards = Shards(whole._folder, whole._n_shards, whole._n_seeds, choice.n_seeds)
            planted.cache[key] = shards.matrix(columns)
        activations = planted.cache[key]
        kind_scores = np.empty(len(activations))
        for rows in _styles(planted) if choice.by_style else [np.ones(len(activations), dtype=bool)]:
            baseline = _fit(activations[rows & ~planted.captions], choice)
            kind_scores[rows] = STATISTICS[choice.statistic](z_scores(activations[rows], baseline))
        scores.append(kind_scores / np.quantile(kind_scores[~planted.captions], 0.99))
    return np.mean(scores, axis=0)


def _styles(planted: Planted) -> list[np.ndarray]:
    """Rows of each style group of the reference; candidates of a style of their own go to the first."""
    texts = planted.rows["prompt"].to_numpy()
    groups = group_by_style(texts[~planted.captions].tolist(), texts[planted.captions].tolist())
    row_groups = np.empty(len(texts), dtype=int)
    row_groups[~planted.captions] = groups.reference_group
    row_groups[planted.captions] = np.where(is_new_style(groups), 0, groups.candidate_group)
    return [row_groups == group for group in range(groups.n_reference_groups)]


def _fit(reference: np.ndarray, choice: Choice) -> Baseline:
    if not choice.mean_and_deviation:
        return fit_baseline(reference, choice.n_components)
    present = reference[~np.isnan(reference).any(axis=1)]
    mean, deviation = present.mean(axis=0), present.std(axis=0)
    deviation = np.maximum(deviation, 0.01 * np.median(deviation))
    bare = Baseline(mean, deviation, np.zeros((0, reference.shape[1]), dtype=np.float32))
    _, _, directions = np.linalg.svd(z_scores(present, bare), full_matrices=False)
    return replace(bare, components=directions[: choice.n_components].astype(np.float32))


ALL = ("text_mlp", "cross_k", "cross_v", "cross_out", "feed_forward")
CHOICES: Mapping[str, Choice] = {
    "**the default** (feed-forward, max over space, 4 seeds, 10 components, root mean square)": Choice(),
    **{f"sites: {kind}": Choice(kinds=(kind,)) for kind in ALL if kind != "feed_forward"},
    "sites: feed-forward and cross-attention output": Choice(kinds=("cross_out", "feed_forward")),
    "sites: all kinds, equally weighted": Choice(kinds=ALL),
    "reduction: mean of absolute values over space": Choice(reduction="abs_mean"),
    "reduction: mean over space": Choice(reduction="mean"),
    **{f"seeds: {n}": Choice(n_seeds=n) for n in (1, 2, 8)},
    "residual: none (no components removed)": Choice(n_components=0),
    **{f"residual: {n} components removed": Choice(n_components=n) for n in (5, 20, 40)},
    **{f"statistic: {name}": Choice(statistic=name) for name in STATISTICS if name != ROOT_MEAN_SQUARE},
    "baseline: mean and standard deviation": Choice(mean_and_deviation=True),
    "baseline: a separate one per style": Choice(by_style=True),
}
TIMESTEPS = {"timestep: 751 (of 1,000; default 981)": 4, "timestep: 501": 2}  # by steps of sampling


def ablation(folder: Path, work: Path, planted: Planted) -> dict[str, str]:
    """AUC / TPR by choice; `planted` holds all kinds of sites and eight seeds."""
    assert max(choice.n_seeds for choice in CHOICES.values()) <= N_SEEDS
    cells = {name: _cell(planted, score(planted, choice)) for name, choice in CHOICES.items()}
    for name, n_steps in TIMESTEPS.items():
        other = record_planted(folder, work / f"steps-{n_steps}", ["feed_forward"], 4, n_steps)
        cells[name] = _cell(other, score(other, Choice()))
    return cells


def _cell(planted: Planted, scores: np.ndarray) -> str:
    positive, negative = scores[planted.memorized], scores[planted.negative]
    return f"{auc(positive, negative):.4f} / {tpr_at_fpr(positive, negative, FPR):.3f}"
