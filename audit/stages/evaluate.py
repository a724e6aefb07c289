"""Evaluate a finished audit with labels: how well its scores separate memorized prompts from others, and the cost."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flashbulb.audit.prompts.labels import Labels, LabelsError, read_labels
from flashbulb.audit.run.lock import hold_directory
from flashbulb.audit.statistics.separation import (
    N_RESAMPLES,
    measure_separation,
    rate_estimate,
    roc_curve,
    threshold_at_fpr,
)
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.figures.evaluation import RocCurve, ScorePanel, roc_figure, score_distributions
from flashbulb.reports.tables.files import SCORES_FILE, RunFileError, sha256_of, write_text
from flashbulb.reports.tables.rows import Rows, iter_column
from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.tables.schema import detector_columns, write_table
from flashbulb.reports.views.evaluation import (
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

logger = logging.getLogger(__name__)

MIN_NEGATIVES_OF_KIND = 10
"""Negatives that a kind needs to be evaluated separately."""

SPIKE_SCORE = "spike_score"
_FPR_1, _FPR_01 = 0.01, 0.001

Scores = npt.NDArray[np.float64]  # [prompt], NaN for a prompt that a detector did not score
Mask = npt.NDArray[np.bool_]  # [prompt]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """The labelled prompts of a run, in the order of scores.parquet.

    Args:
        scores: by detector: [prompt] each.
        negatives: sets of prompts that are not memorized: all of them first, then each kind that is large enough.
        small_kinds: number of negatives by kind, for kinds that are too small for a set.
        n_unlabelled: prompts of the run without a label.
        n_unmatched: labels whose prompt is not in the run.
    """

    scores: Mapping[str, Scores]
    flagged: Mask
    positive: Mask
    negatives: Mapping[str, Mask]
    small_kinds: Mapping[str, int]
    n_unlabelled: int
    n_unmatched: int


def evaluate_run(run: str | os.PathLike[str], labels: str | os.PathLike[str], seed: int) -> Evaluation:
    """Evaluate every detector of the audit in `run` with the file `labels`, and write the results into `run`.

    Writes evaluation.parquet, evaluation.md, evaluation-roc.png and evaluation-scores.png, each atomically.

    Args:
        seed: of the bootstrap.

    Raises:
        LabelsError: the labels cannot be used, or do not fit this run.
        RunIncompleteError: the audit is not finished, or its files were changed.
        RunFileError: `run` is not a run directory, is of a newer version, or cannot be written.
    """
    run, labels = Path(run), Path(labels)
    if labels.is_fifo():
        raise LabelsError(f"{labels} is a pipe, and labels are read and hashed; give a file")
    checked = load_checked(run)
    record, scores = checked.record, checked.tables.scores
    label_set = read_labels(labels)
    labelled = _join(scores, label_set, run)
    evaluation = _evaluate(labelled, label_set, record, seed)
    if all(row.auc is None for row in evaluation.rows):
        raise LabelsError(f"{labels}: no detector scored both memorized and other prompts of {run}; label more of them")
    try:
        with hold_directory(run):
            _write(run, evaluation, labelled, sha256_of(labels), record.tables[SCORES_FILE])
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
            evaluate_detector(name, negatives, scores[labelled.positive], scores[mask], seed)
            for negatives, mask in labelled.negatives.items()
            for name, scores in labelled.scores.items()
        ),
        flagged=_flag_rates(labelled),
        costs=stage_costs(record),
    )


def _join(scores: Rows, labels: Labels, run: Path) -> _Labelled:
    """Keep the prompts of the run that have a label."""
    keys: list[str] = list(iter_column(scores, labels.key))
    labels_or_none = [labels.by_key.get(key) for key in keys]
    n_unmatched = len(labels.by_key.keys() - set(keys))
    if n_unmatched == len(labels.by_key):
        raise LabelsError(
            f"{labels.source}: none of its {len(labels.by_key)} labelled prompts is in {run}, by column {labels.key}, "
            f"e.g. {next(iter(labels.by_key))[:60]!r}; label the prompts of {run / SCORES_FILE}"
        )
    found = [label for label in labels_or_none if label is not None]
    positive = np.array([label.memorized for label in found])
    if positive.all() or not positive.any():
        raise LabelsError(
            f"{labels.source}: all {len(found)} labels of prompts in {run} are {int(positive[0])}; "
            "give labels of memorized (1) and of other prompts (0)"
        )
    is_labelled = np.array([label is not None for label in labels_or_none])
    kinds = Counter(label.kind for label in found if label.kind is not None)
    large = sorted(kind for kind, n in kinds.items() if n >= MIN_NEGATIVES_OF_KIND)
    columns = [SPIKE_SCORE, *detector_columns(scores.schema)]
    return _Labelled(
        scores={name: _read_scores(scores, name)[is_labelled] for name in columns},
        flagged=np.array(list(iter_column(scores, "flagged")))[is_labelled],
        positive=positive,
        negatives={ALL_NEGATIVES: ~positive}
        | {kind: np.array([label.kind == kind for label in found]) for kind in large},
        small_kinds={kind: n for kind, n in sorted(kinds.items()) if kind not in large},
        n_unlabelled=len(labels_or_none) - len(found),
        n_unmatched=n_unmatched,
    )


def _read_scores(scores: Rows, name: str) -> Scores:
    values = (np.nan if value is None else value for value in iter_column(scores, name))
    return np.fromiter(values, np.float64, scores.num_rows)


def evaluate_detector(
    detector: str, negatives: str, positive_scores: Scores, negative_scores: Scores, seed: int
) -> EvaluationRow:
    """Measure how well a detector separates the positives from the set of negatives named `negatives`.

    Args:
        positive_scores, negative_scores: [prompt] each; prompts whose score is NaN are left out and counted.
    """
    positive, negative = (scores[~np.isnan(scores)] for scores in (positive_scores, negative_scores))
    n_missing = len(positive_scores) + len(negative_scores) - len(positive) - len(negative)
    if not len(positive) or not len(negative):
        return EvaluationRow(detector, negatives, len(positive), len(negative), n_missing, None, None, None, None)
    separation = measure_separation(positive, negative, (_FPR_1, _FPR_01), seed)
    tpr_1, tpr_01 = separation.tprs
    return EvaluationRow(
        detector,
        negatives,
        len(positive),
        len(negative),
        n_missing,
        auc=separation.auc,
        tpr_1=tpr_1,
        tpr_01=tpr_01 if len(negative) >= MIN_NEGATIVES_TPR_01 else None,
        average_precision=separation.average_precision,
    )


def _flag_rates(labelled: _Labelled) -> tuple[FlagRate, ...]:
    rates = []
    for prompts, mask in {"positives": labelled.positive, **labelled.negatives}.items():
        n_flagged, n_prompts = int(labelled.flagged[mask].sum()), int(mask.sum())
        rates.append(FlagRate(prompts, n_flagged, n_prompts, rate_estimate(n_flagged, n_prompts)))
    return tuple(rates)


def stage_costs(record: RunRecord) -> tuple[StageCost, ...]:
    """Return the denoiser evaluations and seconds of each stage per candidate prompt."""
    n_prompts = record.counts.n_prompts
    return tuple(
        StageCost(stage, record.evaluations.get(stage, 0) / n_prompts, record.timings.get(stage, 0.0) / n_prompts)
        for stage in dict.fromkeys((*record.timings, *record.evaluations))
    )


def _write(run: Path, evaluation: Evaluation, labelled: _Labelled, labels_sha256: str, scores_sha256: str) -> None:
    metadata = {
        "labels_sha256": labels_sha256,
        "scores_sha256": scores_sha256,
        "seed": str(evaluation.seed),
        "n_resamples": str(evaluation.n_resamples),
    }
    write_table(run / EVALUATION_FILE, evaluation_table(evaluation.rows), EVALUATION_SCHEMA, metadata)
    write_text(run / EVALUATION_PAGE, evaluation_markdown(evaluation))
    rows = best_first(row for row in evaluation.rows if row.negatives == ALL_NEGATIVES and row.auc is not None)
    roc_figure([_curve(row, labelled) for row in rows], run / ROC_FILE)
    score_distributions([_panel(row, labelled) for row in rows], run / DISTRIBUTIONS_FILE)
    logger.info(
        "evaluated %d detectors on %d memorized and %d other prompts, results in %s",
        *(len(labelled.scores), evaluation.n_positive, evaluation.n_negative, run / EVALUATION_PAGE),
    )


def _scores_of(row: EvaluationRow, labelled: _Labelled) -> tuple[Scores, Scores]:
    """Return the scores of positives and negatives that a row compares, without NaN."""
    scores = labelled.scores[row.detector]
    has_score = ~np.isnan(scores)
    return scores[labelled.positive & has_score], scores[labelled.negatives[row.negatives] & has_score]


def _curve(row: EvaluationRow, labelled: _Labelled) -> RocCurve:
    fpr, tpr = roc_curve(*_scores_of(row, labelled))
    return RocCurve(row.detector, fpr.tolist(), tpr.tolist())


def _panel(row: EvaluationRow, labelled: _Labelled) -> ScorePanel:
    positive, negative = _scores_of(row, labelled)
    return ScorePanel(row.detector, positive.tolist(), negative.tolist(), threshold_at_fpr(negative, _FPR_1))
