"""Detection by the probability per seed: how well scores tell captions of each band of p from clean ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from flashbulb.audit.detectors import find_detectors
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.statistics.scores import score_neurons
from flashbulb.audit.statistics.separation import measure_separation, tpr_at_fpr
from flashbulb.reports.bounds.rates import exact_interval
from flashbulb.reports.views.markdown_parts import table
from tests.bench.__main__ import detect
from tests.bench.detection.labelled import FPR, labelled_scores, negative_sets

NOISE, NEMO = "text_conditional_noise", "nemo"


TEXT = (
    "p is the probability that a sample of a caption replicates its training image. A cell is AUC / true positives at",
    "FPR <= 1 %, each with its 95 % interval: for the AUC the outer of Newcombe's and a bootstrap's; for the rate",
    "Clopper and Pearson's. Clean captions were never planted. A sum adds scores in units of their spread over the",
    "reference.",
)


def by_band(models: Mapping[str, Path], work: Path) -> Iterator[str]:
    """Yield the tables of these models, by the runs that lie in `work`; without one, record and detect."""
    yield from ("## By the probability per seed", "", *TEXT, "")
    for name, folder in models.items():
        run = work / name / "audit"
        if not (run / "scores.parquet").is_file():
            detect(folder, run)
        yield from _lines(name, folder, run)


def _lines(name: str, folder: Path, run: Path) -> list[str]:
    """Markdown: AUC and TPR at FPR <= 1 % with 95 % intervals, by score and by the p of the positives."""
    rows = labelled_scores(folder, run)
    clean = negative_sets(rows)["all"].to_numpy()
    planted = rows["kind"].str.startswith("planted")
    n_seeds = int(rows.loc[planted, "n_seeds"].max())
    positives = {band: (mask & planted).to_numpy() for band, mask in _bands(rows["p"]).items()}
    header = ["score", *(f"{band} ({int(mask.sum())})" for band, mask in positives.items())]
    cells = [
        [score, *(_cell(values[mask], values[clean]) for mask in positives.values())]
        for score, values in _scores(rows, run).items()
    ]
    lines = [
        f"### {name}",
        "",
        f"p by {n_seeds} seeds; {int(clean.sum())} clean captions.",
        "",
        *table(header, cells),
    ]
    flagged = rows["flagged"].to_numpy()
    shares = [_rate(int(flagged[mask].sum()), int(mask.sum())) for mask in (*positives.values(), clean)]
    named = zip((*positives, "clean"), shares, strict=True)
    return [*lines, "", "Flagged at a stated 1 %: " + "; ".join(f"{band} {share}" for band, share in named) + ".", ""]


def _bands(p: pd.Series) -> dict[str, pd.Series]:
    return {"p >= 1/2": p >= 1 / 2, "p >= 1/8": p >= 1 / 8, "1/8 <= p < 1/2": (p >= 1 / 8) & (p < 1 / 2)} | {
        "0 < p < 1/8": (p > 0) & (p < 1 / 8),
        "p = 0": p == 0,
    }


def _scores(rows: pd.DataFrame, run: Path) -> Mapping[str, np.ndarray]:
    """Return the scores by name; sums are in units of each score's spread over the reference prompts."""
    reference = _reference_scores(run)
    columns = {"spike score": "spike_score", "text-conditional noise": NOISE, "NeMo's z": NEMO}
    single = {name: rows[column].to_numpy(dtype=float) for name, column in columns.items()}
    units = {
        name: (values - reference[columns[name]].mean()) / reference[columns[name]].std()
        for name, values in single.items()
    }
    spike, noise, nemo = units.values()
    return single | {
        "spike score + noise": spike + noise,
        "larger of spike score and noise": np.maximum(spike, noise),
        "spike score + noise + NeMo's z": spike + noise + nemo,
    }


def _reference_scores(run: Path) -> dict[str, np.ndarray]:
    """Return the scores of the reference prompts; NeMo's are by a baseline that they helped to fit."""
    settings = AuditSettings(model="", prompts="", reference=None, out=run, train_images=None)
    recorded = open_recorded(run, settings)
    shards = recorded.shards("reference")
    nemo = score_neurons(find_detectors()[NEMO], recorded.inputs.sites, shards, shards)
    spike = pd.read_parquet(run / "reference_scores.parquet")["spike_score"].to_numpy()
    return {"spike_score": spike, NOISE: shards.detector_scores([NOISE])[NOISE], NEMO: nemo}


def _cell(positives: np.ndarray, negatives: np.ndarray) -> str:
    if not len(positives):
        return "-"
    auc = measure_separation(positives, negatives, [FPR], seed=0).auc
    n = round(tpr_at_fpr(positives, negatives, FPR) * len(positives))
    return f"{auc.value:.4f} ({auc.low:.3f} to {auc.high:.3f}) / {_rate(n, len(positives))}"


def _rate(n: int, of: int) -> str:
    low, high = exact_interval(n, of)
    return f"{n} of {of} ({low:.2f} to {high:.2f})"
