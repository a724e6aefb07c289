"""Hold a finished audit against labels: how well its scores tell memorized prompts from others, and at what cost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.evaluate import N_RESAMPLES, measure_separation, rate_estimate, roc_curve, threshold_at_fpr
from audit.labels import Labels, LabelsError, read_labels
from reports.check import check_tables
from reports.evaluation import (
    ALL_NEGATIVES,
    DISTRIBUTIONS_FILE,
    EVALUATION_FILE,
    EVALUATION_PAGE,
    EVALUATION_SCHEMA,
    MIN_NEGATIVES_TPR_01,
    ROC_FILE,
    Evaluation,
    EvaluationRow,
    FlagRate,
    StageCost,
    best_first,
    evaluation_markdown,
    evaluation_table,
)
from reports.figures import RocCurve, ScorePanel, roc_figure, score_distributions
from reports.files import SCORES_FILE, RunFileError, sha256_of, write_text
from reports.run_record import RunRecord, load_run
from reports.schema import detector_columns, read_table, scores_schema, write_table

logger = logging.getLogger(__name__)

MIN_NEGATIVES_OF_KIND = 10
SPIKE_SCORE = "spike_score"
_FPR_1, _FPR_01 = 0.01, 0.001

Scores = npt.NDArray[np.float64]  # [prompt], NaN where a detector gave none
Mask = npt.NDArray[np.bool_]  # [prompt]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """The labelled prompts of a run, in its order.

    Args:
        scores: of each detector: [prompt].
        negatives: prompts of each set of negatives, of all first.
        small_kinds: kinds without a set of their own, with their numbers.
    """

    scores: Mapping[str, Scores]
    flagged: Mask
    positive: Mask
    negatives: Mapping[str, Mask]
    small_kinds: Mapping[str, int]
    n_unlabelled: int
    n_unmatched: int


def evaluate_run(run: Path, labels: Path, seed: int) -> Evaluation:
    """Evaluate every detector of the run in directory `run` by the file `labels`, and write what was found into it.

    Writes evaluation.parquet, evaluation.md, evaluation-roc.png and evaluation-scores.png, each whole or not at all.

    Args:
        seed: of the bootstrap.

    Raises:
        LabelsError: the labels cannot be used, or not for this run.
        RunIncompleteError: the audit did not finish, or its files were changed.
        RunFileError: `run` is no run directory, is of a newer version, or cannot be written.
    """
    record = load_run(run)
    check_tables(run, record)
    given = read_labels(labels)
    labelled = _join(read_table(run / SCORES_FILE, scores_schema(())), given, run)
    evaluation = _evaluate(labelled, given, record, seed)
    if all(row.auc is None for row in evaluation.rows):
        raise LabelsError(f"{labels}: no detector scored both memorized and other prompts of {run}; label more of them")
    try:
        _write(run, evaluation, labelled, sha256_of(labels))
    except OSError as error:
        raise RunFileError(f"{run} cannot be written: {error.strerror or error}; evaluate a copy of it") from error
    return evaluation


def _evaluate(labelled: _Labelled, labels: Labels, record: RunRecord, seed: int) -> Evaluation:
    return Evaluation(
        labels=Path(labels.source).name,
        model=record.model.name,
        threshold_fpr=record.calibration.fpr,
        n_positive=int(labelled.positive.sum()),
        n_negative=int(labelled.negatives[ALL_NEGATIVES].sum()),
        n_unlabelled=labelled.n_unlabelled,
        n_unmatched=labelled.n_unmatched,
        n_blank=labels.n_blank,
        small_kinds=labelled.small_kinds,
        seed=seed,
        n_resamples=N_RESAMPLES,
        rows=tuple(
            evaluation_row(name, of_set, scores[labelled.positive], scores[negative], seed)
            for of_set, negative in labelled.negatives.items()
            for name, scores in labelled.scores.items()
        ),
        flagged=_flag_rates(labelled),
        costs=stage_costs(record),
    )


def _join(scores: pa.Table, labels: Labels, run: Path) -> _Labelled:
    """Keep the prompts of the run that have a label."""
    keys: list[str] = scores[labels.key].to_pylist()
    found = [labels.of.get(key) for key in keys]
    n_unmatched = len(labels.of.keys() - set(keys))
    if n_unmatched == len(labels.of):
        raise LabelsError(
            f"{labels.source}: none of its {len(labels.of)} labelled prompts is in {run}, by column {labels.key}, "
            f"e.g. {next(iter(labels.of))[:60]!r}; label the prompts of {run / SCORES_FILE}"
        )
    chosen = [label for label in found if label is not None]
    positive = np.array([label.memorized for label in chosen])
    if positive.all() or not positive.any():
        raise LabelsError(
            f"{labels.source}: all {len(chosen)} labels of prompts in {run} are {int(positive[0])}; "
            "it takes memorized (1) and other prompts (0)"
        )
    is_labelled = np.array([label is not None for label in found])
    kinds = Counter(label.kind for label in chosen if label.kind is not None)
    large = sorted(kind for kind, n in kinds.items() if n >= MIN_NEGATIVES_OF_KIND)
    columns = [SPIKE_SCORE, *detector_columns(scores.schema)]
    return _Labelled(
        scores={name: _numbers(scores[name])[is_labelled] for name in columns},
        flagged=np.array(scores["flagged"].to_pylist(), dtype=np.bool_)[is_labelled],
        positive=positive,
        negatives={ALL_NEGATIVES: ~positive} | {k: np.array([label.kind == k for label in chosen]) for k in large},
        small_kinds={kind: n for kind, n in sorted(kinds.items()) if kind not in large},
        n_unlabelled=len(found) - len(chosen),
        n_unmatched=n_unmatched,
    )


def _numbers(column: pa.ChunkedArray) -> Scores:
    return np.array([np.nan if value is None else value for value in column.to_pylist()], dtype=np.float64)


def evaluation_row(detector: str, negatives: str, positive: Scores, negative: Scores, seed: int) -> EvaluationRow:
    """Judge one detector against the set `negatives`; scores that are NaN are left out and counted: [prompt]."""
    found, others = (scores[~np.isnan(scores)] for scores in (positive, negative))
    n_missing = len(positive) + len(negative) - len(found) - len(others)
    if not len(found) or not len(others):
        return EvaluationRow(detector, negatives, len(found), len(others), n_missing, None, None, None, None)
    separation = measure_separation(found, others, (_FPR_1, _FPR_01), seed)
    tpr_1, tpr_01 = separation.tprs
    return EvaluationRow(
        detector,
        negatives,
        len(found),
        len(others),
        n_missing,
        auc=separation.auc,
        tpr_1=tpr_1,
        tpr_01=tpr_01 if len(others) >= MIN_NEGATIVES_TPR_01 else None,
        average_precision=separation.average_precision,
    )


def _flag_rates(labelled: _Labelled) -> tuple[FlagRate, ...]:
    rates = []
    for prompts, mask in {"positives": labelled.positive, **labelled.negatives}.items():
        n_flagged, n_prompts = int(labelled.flagged[mask].sum()), int(mask.sum())
        rates.append(FlagRate(prompts, n_flagged, n_prompts, rate_estimate(n_flagged, n_prompts)))
    return tuple(rates)


def stage_costs(record: RunRecord) -> tuple[StageCost, ...]:
    """UNet evaluations and seconds of each stage, divided by the number of candidate prompts."""
    n_prompts = record.counts.n_prompts
    return tuple(
        StageCost(stage, record.evaluations.get(stage, 0) / n_prompts, record.timings.get(stage, 0.0) / n_prompts)
        for stage in dict.fromkeys((*record.timings, *record.evaluations))
    )


def _write(run: Path, evaluation: Evaluation, labelled: _Labelled, labels_sha256: str) -> None:
    metadata = {
        "labels_sha256": labels_sha256,
        "scores_sha256": sha256_of(run / SCORES_FILE),
        "seed": str(evaluation.seed),
        "n_resamples": str(evaluation.n_resamples),
    }
    write_table(run / EVALUATION_FILE, evaluation_table(evaluation.rows), EVALUATION_SCHEMA, metadata)
    write_text(run / EVALUATION_PAGE, evaluation_markdown(evaluation))
    rows = best_first(row for row in evaluation.rows if row.negatives == ALL_NEGATIVES and row.auc is not None)
    roc_figure([_curve(row, labelled) for row in rows], run / ROC_FILE)
    score_distributions([_panel(row, labelled) for row in rows], run / DISTRIBUTIONS_FILE)
    logger.info(
        "evaluated %d detectors by %d memorized and %d other prompts, written to %s",
        len(labelled.scores),
        evaluation.n_positive,
        evaluation.n_negative,
        run / EVALUATION_PAGE,
    )


def _groups(row: EvaluationRow, labelled: _Labelled) -> tuple[Scores, Scores]:
    scores = labelled.scores[row.detector]
    groups = scores[labelled.positive], scores[labelled.negatives[row.negatives]]
    return groups[0][~np.isnan(groups[0])], groups[1][~np.isnan(groups[1])]


def _curve(row: EvaluationRow, labelled: _Labelled) -> RocCurve:
    fpr, tpr = roc_curve(*_groups(row, labelled))
    return RocCurve(row.detector, fpr.tolist(), tpr.tolist())


def _panel(row: EvaluationRow, labelled: _Labelled) -> ScorePanel:
    positives, negatives = _groups(row, labelled)
    return ScorePanel(row.detector, positives.tolist(), negatives.tolist(), threshold_at_fpr(negatives, _FPR_1))
