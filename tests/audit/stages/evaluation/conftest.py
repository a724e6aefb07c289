"""A finished audit with drawn scores, and the labels of its prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.power.sensitivity import audit_power
from flashbulb.reports.tables.files import SCORES_FILE, sha256_of
from flashbulb.reports.tables.run_record import load_run
from flashbulb.reports.tables.run_tables import read_audit_tables
from flashbulb.reports.tables.schema import read_table, scores_schema, write_table
from flashbulb.reports.views.evaluation import Evaluation, EvaluationRow
from tests.reports.examples import DETECTORS
from tests.reports.run_files import seal_again, write_record
from tests.reports.runs import write_example

N_POSITIVE, N_NEGATIVE = 30, 120
FILES = {"evaluation.parquet", "evaluation.md", "evaluation-roc.png", "evaluation-scores.png"}


def drawn_scores() -> pa.Table:
    """Prompts p0 to p149, the first thirty memorized; `text_noise` was computed for every third only."""
    n, rng = N_POSITIVE + N_NEGATIVE, np.random.default_rng(0)
    scores = rng.normal(np.repeat([2.0, 0.0], [N_POSITIVE, N_NEGATIVE]), 1)
    noise = [float(score) if index % 3 == 0 else None for index, score in enumerate(scores)]
    columns = {"spikes_ff": -scores, "spike_score": scores, "text_noise": noise, "flagged": scores > 1.5}
    return pa.table({**columns, "tier": [1] * n})


def set_columns(table: pa.Table, values: Mapping[str, Sequence[object]]) -> pa.Table:
    for name, column in values.items():
        index, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(index, field, pa.array(column, field.type))
    return table


def write_audit(run: Path, scores: pa.Table) -> Path:
    """Write a finished audit with these scores that passes the checks of its readers; tier 0 left out its zeros."""
    severities = {index: "low" for index, flagged in enumerate(scores["flagged"].to_pylist()) if flagged}
    write_example(run, severities, prompts=[f"prompt {index}" for index in range(scores.num_rows)])
    record, left_out = load_run(run), [tier == 0 for tier in scores["tier"].to_pylist()]
    table = set_columns(
        read_table(run / SCORES_FILE, scores_schema(())),
        {name: scores[name].to_pylist() for name in ("spike_score", *DETECTORS)},
    )
    if any(left_out):
        unscored = ("tier", "style", "p_value", "q_value")
        old = {name: table[name].to_pylist() for name in unscored}
        blank = {name: 0 if name == "tier" else None for name in unscored}
        table = set_columns(
            table,
            {n: [blank[n] if out else value for value, out in zip(old[n], left_out, strict=True)] for n in unscored},
        )
    write_table(run / SCORES_FILE, table, scores_schema(DETECTORS), {"model_fingerprint": record.model.fingerprint})
    style = replace(record.calibration.styles[0], n_candidates=left_out.count(False))
    changed = replace(
        record,
        counts=replace(record.counts, n_left_out=sum(left_out)),
        calibration=replace(record.calibration, styles=(style,)),
        tables={**record.tables, SCORES_FILE: sha256_of(run / SCORES_FILE)},
    )
    recoveries = read_audit_tables(run).recoveries
    write_record(run, replace(changed, power=audit_power(changed, table, recoveries)))
    seal_again(run)
    load_checked(run)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_audit(tmp_path / "run", drawn_scores())


def write_labels(path: Path, lines: list[str], header: str = "prompt_id,label,kind") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of every prompt; the first 20 negatives are titles, the next 5 are odd, the others have no kind."""
    positives = [f"p{index},1,planted" for index in range(N_POSITIVE)]
    kinds = ["title"] * 20 + ["odd"] * 5 + [""] * (N_NEGATIVE - 25)
    negatives = [f"p{index},0,{kind}" for index, kind in enumerate(kinds, start=N_POSITIVE)]
    return write_labels(tmp_path / "labels.csv", [*positives, *negatives])


def row_of(evaluation: Evaluation, detector: str, negatives: str = "all") -> EvaluationRow:
    (row,) = [row for row in evaluation.rows if (row.detector, row.negatives) == (detector, negatives)]
    return row
