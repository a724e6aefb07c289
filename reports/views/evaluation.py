"""The results of an evaluation against labels: its table and its page in the run directory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import pyarrow as pa

from flashbulb.reports.bounds.rates import percent
from flashbulb.reports.tables.schema import required_column
from flashbulb.reports.views.markdown_parts import code, page, table

EVALUATION_FILE = "evaluation.parquet"
EVALUATION_PAGE = "evaluation.md"
ROC_FILE = "evaluation-roc.png"
DISTRIBUTIONS_FILE = "evaluation-scores.png"

ALL_NEGATIVES = "all"
MIN_NEGATIVES_TPR_01 = 1000  # with fewer, a single false positive is more than 0.1 %
_FEW_NEGATIVES = 100  # with fewer, a single false positive is more than 1 %

_ESTIMATES = ("auc", "tpr_1", "tpr_01", "average_precision")
_NO_ESTIMATE = "-"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """How well one detector separates the positives from one set of negatives.

    Args:
        negatives: "all", or a kind of negatives.
        n_positive, n_negative: labelled prompts with a score of this detector.
        n_missing: labelled prompts without one, because its tier was not reached; they are left out.
        auc, tpr_1, average_precision: None if no positive or no negative has a score; `tpr_1` is at FPR ≤ 1 %.
        tpr_01: at FPR ≤ 0.1 %; also None with fewer than 1000 negatives.
    """

    detector: str
    negatives: str
    n_positive: int
    n_negative: int
    n_missing: int
    auc: Estimate | None
    tpr_1: Estimate | None
    tpr_01: Estimate | None
    average_precision: Estimate | None


@dataclass(frozen=True, slots=True)
class FlagRate:
    """The share of one set of labelled prompts that the audit flagged.

    Args:
        prompts: "positives", "all" (negatives), or a kind of negatives.
    """

    prompts: str
    n_flagged: int
    n_prompts: int
    rate: Estimate


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of a stage per candidate prompt, including that of the reference prompts."""

    stage: str
    evaluations: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run compared with labels.

    Args:
        labels: the file of labels.
        threshold_fpr: the false-positive rate that the audit's threshold was set for.
        n_unlabelled: prompts of the run without a label.
        n_unmatched: labelled prompts that are not in the run.
        n_blank: rows of the file without a prompt.
        small_kinds: counts of the kinds of negatives that are too few for a table of their own.
        flagged: rates for the positives, all negatives, and each kind of negatives.
    """

    labels: str
    model: str
    threshold_fpr: float
    n_positive: int
    n_negative: int
    n_unlabelled: int
    n_unmatched: int
    n_blank: int
    small_kinds: Mapping[str, int]
    seed: int
    n_resamples: int
    rows: tuple[EvaluationRow, ...]
    flagged: tuple[FlagRate, ...]
    costs: tuple[StageCost, ...]


def _estimate_fields(name: str) -> list[pa.Field]:
    return [pa.field(column, pa.float64()) for column in (name, f"{name}_low", f"{name}_high")]


EVALUATION_SCHEMA = pa.schema(
    [
        required_column("detector", pa.string()),
        required_column("negatives", pa.string()),
        required_column("n_positive", pa.int64()),
        required_column("n_negative", pa.int64()),
        required_column("n_missing", pa.int64()),
        *(field for name in _ESTIMATES for field in _estimate_fields(name)),
    ]
)


def evaluation_table(rows: Sequence[EvaluationRow]) -> pa.Table:
    """Build `evaluation.parquet`: each estimate takes three columns, which are null if there is none."""
    records = []
    for row in rows:
        record: dict[str, object] = {name: getattr(row, name) for name in EVALUATION_SCHEMA.names[:5]}
        for name in _ESTIMATES:
            estimate: Estimate | None = getattr(row, name)
            if estimate is not None:
                record |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        records.append(record)
    return pa.Table.from_pylist(records, schema=EVALUATION_SCHEMA)


def best_first(rows: Iterable[EvaluationRow]) -> list[EvaluationRow]:
    """Sort by TPR at FPR ≤ 1 %, then by AUC; rows without estimates come last."""
    return sorted(rows, key=lambda row: (_value(row.tpr_1), _value(row.auc)), reverse=True)


def _value(estimate: Estimate | None) -> float:
    return -inf if estimate is None else estimate.value


def evaluation_markdown(evaluation: Evaluation) -> str:
    """Render `evaluation.md`: a table for each set of negatives, the flagged prompts, the cost, and notes."""
    sets = dict.fromkeys(row.negatives for row in evaluation.rows)
    return page(
        _head(evaluation),
        *(_detectors([row for row in evaluation.rows if row.negatives == name], name) for name in sets),
        _flagged(evaluation),
        _costs(evaluation.costs),
        _how_to_read(evaluation),
    )


def _head(evaluation: Evaluation) -> list[str]:
    left_out = (
        (evaluation.n_unlabelled, "prompts of the run have no label"),
        (evaluation.n_unmatched, "labelled prompts are not in the run"),
        (evaluation.n_blank, "rows of the file have no prompt"),
    )
    small = ", ".join(f"{code(kind)} ({n})" for kind, n in evaluation.small_kinds.items())
    return [
        "# Evaluation by labels",
        "",
        f"- {evaluation.n_positive} memorized and {evaluation.n_negative} other prompts, labelled by "
        f"{code(evaluation.labels)}; model {code(evaluation.model)}.",
        *(f"- Left out: {n} {reason}." for n, reason in left_out if n),
        *([f"- Kinds with too few negatives for a table of their own: {small}."] if small else []),
    ]


def _detectors(rows: Sequence[EvaluationRow], negatives: str) -> list[str]:
    n_missing = max(row.n_missing for row in rows)
    header = ["detector", "TPR at FPR ≤ 1 %", "TPR at FPR ≤ 0.1 %", "AUC", "average precision", "memorized", "others"]
    header += ["without a score"] if n_missing else []
    lines = [
        [
            code(row.detector),
            *map(_cell, (row.tpr_1, row.tpr_01, row.auc, row.average_precision)),
            str(row.n_positive),
            str(row.n_negative),
            *([str(row.n_missing)] if n_missing else []),
        ]
        for row in best_first(rows)
    ]
    title = "All negatives" if negatives == ALL_NEGATIVES else f"Negatives of kind {code(negatives)}"
    n_negative = max(row.n_negative for row in rows)
    few = (
        [f"{n_negative} negatives: an FPR of 1 % allows no false positive.", ""] if n_negative < _FEW_NEGATIVES else []
    )
    return [f"## {title}", "", *few, *table(header, lines)]


def _flagged(evaluation: Evaluation) -> list[str]:
    rows = [
        [
            {"positives": "memorized", ALL_NEGATIVES: "all others"}.get(rate.prompts, code(rate.prompts)),
            f"{rate.n_flagged} of {rate.n_prompts}",
            percent(rate.rate.value),
            f"{percent(rate.rate.low)} to {percent(rate.rate.high)}",
        ]
        for rate in evaluation.flagged
    ]
    intro = f"The audit set its threshold for a false-positive rate of {percent(evaluation.threshold_fpr)}."
    return ["## Flagged", "", intro, "", *table(("prompts", "flagged", "rate", "95 % interval"), rows)]


def _costs(costs: Sequence[StageCost]) -> list[str]:
    rows = [[code(cost.stage), f"{cost.evaluations:.4g}", f"{cost.seconds:.3g}"] for cost in costs]
    total = ["all", f"{sum(c.evaluations for c in costs):.4g}", f"{sum(c.seconds for c in costs):.3g}"]
    header = ["stage", "denoiser evaluations per prompt", "seconds per prompt"]
    return ["## Cost", "", *table(header, [*rows, total])]


def _how_to_read(evaluation: Evaluation) -> list[str]:
    return [
        "## How to read this",
        "",
        "- TPR at FPR ≤ 1 %: the highest share of memorized prompts that a threshold finds while at most 1 % of the "
        f"others reach it. FPR ≤ 0.1 % needs {MIN_NEGATIVES_TPR_01} negatives; with fewer the cell is {_NO_ESTIMATE}.",
        f"- In parentheses: 95 % intervals. Each bound is the wider of {evaluation.n_resamples} stratified bootstrap "
        f"resamples (seed {evaluation.seed}) and an interval by formula. That of a TPR is exact (Clopper and Pearson) "
        "for the threshold as it was chosen; the choice of the threshold is covered by the bootstrap alone. Prompts "
        "are resampled independently, so the intervals are too narrow if many prompts share an image.",
        "- Rates of flagged prompts have exact intervals (Clopper and Pearson): their threshold was set before the "
        "labels were read.",
        "- Average precision depends on the share of memorized prompts: compare it only within a table.",
        "- A detector without a score for some prompts is evaluated on the others alone. Other detectors chose those, "
        "so its row is not comparable with complete rows.",
        "- Negatives of another style than the memorized prompts make every detector look good. Trust the kind of "
        "negatives closest to them.",
        "- Cost includes reference prompts. Seconds count only the last start of the audit, so a resumed audit shows "
        "less time than it took.",
    ]


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return _NO_ESTIMATE
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"
