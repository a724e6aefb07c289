"""What an evaluation by labels writes into the run directory: its table and its page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import pyarrow as pa

from reports.rates import percent
from reports.text import markdown_code

EVALUATION_FILE = "evaluation.parquet"
EVALUATION_PAGE = "evaluation.md"
ROC_FILE = "evaluation-roc.png"
DISTRIBUTIONS_FILE = "evaluation-scores.png"

ALL_NEGATIVES = "all"
MIN_NEGATIVES_TPR_01 = 1000  # one false positive in fewer is more than 0.1 %
_FEW_NEGATIVES = 100  # one false positive in fewer is more than 1 %

_ESTIMATES = ("auc", "tpr_1", "tpr_01", "average_precision")
_NO_ESTIMATE = "-"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One detector against one set of negatives; `tpr_1` and `tpr_01` are at FPR ≤ 1 % and ≤ 0.1 %.

    Args:
        negatives: "all", or a kind of negatives.
        n_positive, n_negative: labelled prompts that have this detector's score.
        n_missing: labelled prompts that do not, because its tier was not reached; they are left out.
        auc, tpr_1, average_precision: None where no positive or no negative has a score.
        tpr_01: None with fewer than 1000 negatives, too.
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
    """How many of one set of labelled prompts the audit flagged: "positives", "all" negatives, or a kind of them."""

    prompts: str
    n_flagged: int
    n_prompts: int
    rate: Estimate


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage cost, reference prompts included, divided by the number of candidate prompts."""

    stage: str
    evaluations: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run held against labels.

    Args:
        labels: the file of labels.
        threshold_fpr: the false-positive rate that the audit's threshold was set for.
        n_unlabelled: prompts of the run without a label.
        n_unmatched: labelled prompts that are not in the run.
        n_blank: rows of the file that name no prompt.
        small_kinds: kinds of negatives too few for figures of their own, with their numbers.
        flagged: of the positives, of all negatives, of each kind of them.
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
        pa.field("detector", pa.string(), nullable=False),
        pa.field("negatives", pa.string(), nullable=False),
        pa.field("n_positive", pa.int64(), nullable=False),
        pa.field("n_negative", pa.int64(), nullable=False),
        pa.field("n_missing", pa.int64(), nullable=False),
        *(field for name in _ESTIMATES for field in _estimate_fields(name)),
    ]
)


def evaluation_table(rows: Sequence[EvaluationRow]) -> pa.Table:
    """Lay the rows out as `evaluation.parquet`: an estimate is three columns, null where there is none."""
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
    """Sort by TPR at FPR ≤ 1 %, then by AUC; rows without figures come last."""
    return sorted(rows, key=lambda row: (_value(row.tpr_1), _value(row.auc)), reverse=True)


def _value(estimate: Estimate | None) -> float:
    return -inf if estimate is None else estimate.value


def evaluation_markdown(evaluation: Evaluation) -> str:
    """Render `evaluation.md`: a table for each set of negatives, the flags, the cost, and what the figures mean."""
    sets = dict.fromkeys(row.negatives for row in evaluation.rows)
    sections = (
        _head(evaluation),
        *(_detectors([row for row in evaluation.rows if row.negatives == name], name) for name in sets),
        _flags(evaluation),
        _costs(evaluation.costs),
        _reading(evaluation),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _head(evaluation: Evaluation) -> list[str]:
    left_out = (
        (evaluation.n_unlabelled, "prompts of the run have no label and count for nothing"),
        (evaluation.n_unmatched, "labelled prompts are not in the run"),
        (evaluation.n_blank, "rows of the file name no prompt"),
    )
    small = ", ".join(f"{_code(kind)} ({n})" for kind, n in evaluation.small_kinds.items())
    return [
        "# Evaluation by labels",
        "",
        f"- {evaluation.n_positive} memorized and {evaluation.n_negative} other prompts, labelled by "
        f"{_code(evaluation.labels)}; model {_code(evaluation.model)}.",
        *(f"- Left out: {n} {what}." for n, what in left_out if n),
        *([f"- Kinds of negatives too few for a table of their own: {small}."] if small else []),
    ]


def _detectors(rows: Sequence[EvaluationRow], negatives: str) -> list[str]:
    n_missing = max(row.n_missing for row in rows)
    header = ["detector", "TPR at FPR ≤ 1 %", "TPR at FPR ≤ 0.1 %", "AUC", "average precision", "memorized", "others"]
    lines = [
        [
            _code(row.detector),
            *map(_cell, (row.tpr_1, row.tpr_01, row.auc, row.average_precision)),
            str(row.n_positive),
            str(row.n_negative),
            str(row.n_missing),
        ]
        for row in best_first(rows)
    ]
    table = [header + ["without a score"] * bool(n_missing), *(line if n_missing else line[:-1] for line in lines)]
    title = "All negatives" if negatives == ALL_NEGATIVES else f"Negatives of kind {_code(negatives)}"
    n_negative = max(row.n_negative for row in rows)
    few = (
        [f"{n_negative} negatives: an FPR of 1 % allows no false positive.", ""] if n_negative < _FEW_NEGATIVES else []
    )
    return [f"## {title}", "", *few, *_table(table)]


def _flags(evaluation: Evaluation) -> list[str]:
    rows = [
        [
            {"positives": "memorized", ALL_NEGATIVES: "all others"}.get(rate.prompts, _code(rate.prompts)),
            f"{rate.n_flagged} of {rate.n_prompts}",
            percent(rate.rate.value),
            f"{percent(rate.rate.low)} to {percent(rate.rate.high)}",
        ]
        for rate in evaluation.flagged
    ]
    intro = f"The audit set its threshold for a false-positive rate of {percent(evaluation.threshold_fpr)}."
    return ["## Flagged", "", intro, "", *_table([["prompts", "flagged", "rate", "95 % interval"], *rows])]


def _costs(costs: Sequence[StageCost]) -> list[str]:
    rows = [[_code(cost.stage), f"{cost.evaluations:.4g}", f"{cost.seconds:.3g}"] for cost in costs]
    total = ["all", f"{sum(c.evaluations for c in costs):.4g}", f"{sum(c.seconds for c in costs):.3g}"]
    header = ["stage", "UNet evaluations per prompt", "seconds per prompt"]
    return ["## Cost", "", *_table([header, *rows, total])]


def _reading(evaluation: Evaluation) -> list[str]:
    return [
        "## How to read this",
        "",
        "- TPR at FPR ≤ 1 %: the highest share of memorized prompts found while at most 1 % of the others score as "
        f"high. At 0.1 % it takes {MIN_NEGATIVES_TPR_01} negatives; with fewer it is marked {_NO_ESTIMATE}.",
        f"- In parentheses: 95 % intervals, the wider of {evaluation.n_resamples} stratified resamples (seed "
        f"{evaluation.seed}) and of a score interval at each end. Prompts are drawn one by one: where many prompts "
        "share one picture, the intervals are too narrow.",
        "- Average precision depends on the share of memorized prompts: compare it within a table only.",
        "- A detector without a score for some prompts is judged by the others alone. Those were chosen by other "
        "detectors, so its row does not compare with complete ones.",
        "- Negatives of another style than the memorized prompts make every detector look good; trust the kind "
        "closest to them.",
        "- Cost includes reference prompts. Seconds are those of the audit's last start, so a resumed audit shows "
        "less than it took.",
    ]


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return _NO_ESTIMATE
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = (rows[0], ["---"] * len(rows[0]), *rows[1:])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _code(text: str) -> str:
    return markdown_code(text, 200)
