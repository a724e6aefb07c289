"""An evaluation compares the labelled prompts, reports what it leaves out, and writes complete files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.prompts.labels import LabelsError
from flashbulb.audit.stages.evaluate import evaluate_detector, evaluate_run
from flashbulb.audit.statistics.separation import auc, rate_estimate, tpr_at_fpr
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.power.sensitivity import audit_power
from flashbulb.reports.tables.files import (
    SCORES_FILE,
    RunFileError,
    RunIncompleteError,
    sha256_of,
)
from flashbulb.reports.tables.run_record import load_run
from flashbulb.reports.tables.run_tables import read_audit_tables
from flashbulb.reports.tables.schema import read_table, scores_schema, write_table
from flashbulb.reports.views.evaluation import EVALUATION_SCHEMA, Estimate, Evaluation, EvaluationRow
from tests.reports.examples import DETECTORS
from tests.reports.run_files import read_metadata, seal_again, write_record
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


def test_the_rates_are_those_of_the_labelled_scores(run: Path, labels: Path) -> None:
    scores = np.array(drawn_scores()["spike_score"])
    positives, negatives = scores[:N_POSITIVE], scores[N_POSITIVE:]
    row = row_of(evaluate_run(run, labels, 0), "spike_score")
    assert (row.n_positive, row.n_negative, row.n_missing) == (N_POSITIVE, N_NEGATIVE, 0)
    assert row.auc is not None
    assert row.tpr_1 is not None
    assert row.auc.value == auc(positives, negatives)
    assert row.tpr_1.value == tpr_at_fpr(positives, negatives, 0.01)
    assert row.auc.low < row.auc.value < row.auc.high


def test_every_detector_is_compared_with_all_negatives_and_every_large_kind(run: Path, labels: Path) -> None:
    evaluation = evaluate_run(str(run), str(labels), 0)
    found = {(row.detector, row.negatives) for row in evaluation.rows}
    assert found == {(name, kind) for name in ("spike_score", *DETECTORS) for kind in ("all", "title")}
    assert evaluation.small_kinds == {"odd": 5}
    assert row_of(evaluation, "spike_score", "title").n_negative == 20


def test_a_negated_score_has_the_opposite_auc(run: Path, labels: Path) -> None:
    evaluation = evaluate_run(run, labels, 0)
    plain_auc, negated_auc = row_of(evaluation, "spike_score").auc, row_of(evaluation, "spikes_ff").auc
    assert plain_auc is not None
    assert negated_auc is not None
    assert plain_auc.value == pytest.approx(1 - negated_auc.value)


def test_prompts_without_a_score_are_left_out_and_counted(run: Path, labels: Path) -> None:
    row = row_of(evaluate_run(run, labels, 0), "text_noise")
    assert (row.n_positive, row.n_negative, row.n_missing) == (10, 40, 100)
    scores = np.array(drawn_scores()["spike_score"])[::3]
    assert row.auc is not None
    assert row.auc.value == auc(scores[:10], scores[10:])


def test_a_detector_that_never_ran_has_no_rates(tmp_path: Path, labels: Path) -> None:
    scores = set_columns(drawn_scores(), {"text_noise": [None] * (N_POSITIVE + N_NEGATIVE)})
    run = write_audit(tmp_path / "run", scores)
    row = row_of(evaluate_run(run, labels, 0), "text_noise")
    assert (row.n_missing, row.auc, row.tpr_1, row.average_precision) == (150, None, None, None)
    assert "| `text_noise` | - | - | - | - | 0 | 0 | 150 |" in (run / "evaluation.md").read_text(encoding="utf-8")


def test_labels_that_no_detector_covers_are_refused(tmp_path: Path, labels: Path) -> None:
    scores = drawn_scores()
    blank = {"tier": 0, "flagged": False, "spike_score": None, "spikes_ff": None, "text_noise": None}
    left_out = {name: [*scores[name].to_pylist()[:N_POSITIVE], *[value] * N_NEGATIVE] for name, value in blank.items()}
    run = write_audit(tmp_path / "run", set_columns(scores, left_out))
    with pytest.raises(LabelsError, match="no detector scored both"):
        evaluate_run(run, labels, 0)


def test_a_false_positive_rate_of_a_thousandth_needs_a_thousand_negatives() -> None:
    positives, negatives = np.arange(10.0), np.arange(1000.0)
    assert evaluate_detector("d", "all", positives, negatives, 0).tpr_01 is not None
    assert evaluate_detector("d", "all", positives, negatives[1:], 0).tpr_01 is None


def test_flags_are_counted_among_the_same_prompts(run: Path, labels: Path) -> None:
    flagged = np.array(drawn_scores()["flagged"])
    rates = {rate.prompts: rate for rate in evaluate_run(run, labels, 0).flagged}
    assert list(rates) == ["positives", "all", "title"]
    for name, flags in (("positives", flagged[:30]), ("all", flagged[30:]), ("title", flagged[30:50])):
        assert (rates[name].n_flagged, rates[name].n_prompts) == (flags.sum(), len(flags))
        assert rates[name].rate == rate_estimate(int(flags.sum()), len(flags))


def test_the_cost_of_each_stage_is_per_prompt(run: Path, labels: Path) -> None:
    costs = {cost.stage: (cost.evaluations, cost.seconds) for cost in evaluate_run(run, labels, 0).costs}
    assert costs == {"screen": (0, 0.01), "step": (800 / 150, 0.135), "recover": (5000 / 150, 0)}


def test_four_complete_files_are_written_and_the_audit_is_unchanged(run: Path, labels: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    evaluation = evaluate_run(run, labels, 3)
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.keys() - before.keys() == FILES
    assert {name: after[name] for name in before} == before
    table = read_table(run / "evaluation.parquet", EVALUATION_SCHEMA)
    assert table.num_rows == len(evaluation.rows)
    assert read_metadata(run / "evaluation.parquet")["labels_sha256"] == sha256_of(labels)
    first, row = table.to_pylist()[0], evaluation.rows[0]
    assert (first["detector"], first["n_negative"], first["tpr_01"]) == (row.detector, row.n_negative, None)
    assert Estimate(first["auc"], first["auc_low"], first["auc_high"]) == row.auc
    assert Estimate(*(first[f"average_precision{end}"] for end in ("", "_low", "_high"))) == row.average_precision


def test_an_evaluation_is_repeatable_and_replaces_an_earlier_one(run: Path, labels: Path) -> None:
    first = evaluate_run(run, labels, 3)
    page = (run / "evaluation.md").read_text(encoding="utf-8")
    assert evaluate_run(run, labels, 3) == first
    assert (run / "evaluation.md").read_text(encoding="utf-8") == page
    assert pq.read_table(run / "evaluation.parquet").num_rows == len(first.rows)


def test_the_page_ranks_detectors_and_reports_its_limits(run: Path, labels: Path) -> None:
    evaluate_run(run, labels, 0)
    page = (run / "evaluation.md").read_text(encoding="utf-8")
    assert "30 memorized and 120 other prompts" in page
    assert "`odd` (5)" in page
    assert "needs 1000 negatives" in page
    assert "20 negatives: an FPR of 1 % allows no false positive" in page
    all_negatives, title = page.split("## All negatives")[1].split("## Negatives of kind `title`")
    assert all_negatives.index("`spike_score`") < all_negatives.index("`spikes_ff`")
    assert "without a score" in all_negatives
    assert "| `spike_score` |" in title


def test_untrusted_names_are_not_markup(run: Path, tmp_path: Path) -> None:
    lines = [f"p{i},{int(i < 30)},<b>|x" for i in range(150)]
    evaluate_run(run, write_labels(tmp_path / "a|`b.csv", lines), 0)
    page = (run / "evaluation.md").read_text(encoding="utf-8")
    assert "## Negatives of kind `<b>¦x`" in page
    assert "`a¦ˋb.csv`" in page


def test_prompts_without_labels_and_labels_without_prompts_are_counted(run: Path, tmp_path: Path) -> None:
    lines = [f"prompt {index},{int(index < 20)}" for index in range(10, 100)] + ["another,1", "and another,0", ",1"]
    evaluation = evaluate_run(run, write_labels(tmp_path / "labels.csv", lines, header="prompt,label"), 0)
    assert (evaluation.n_positive, evaluation.n_negative) == (10, 80)
    assert (evaluation.n_unlabelled, evaluation.n_unmatched, evaluation.n_blank) == (60, 2, 1)
    page = (run / "evaluation.md").read_text(encoding="utf-8")
    assert "Left out: 60 prompts of the run have no label" in page
    assert "Left out: 2 labelled prompts are not in the run" in page


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ["x,1,", "y,0,"],
            r"none of its 2 labelled prompts is in .*column prompt_id, e\.g\. 'x'; label the prompts of",
        ),
        (["p0,1,", "p1,1,", "x,0,"], r"all 2 labels of prompts in .* are 1"),
        (["p0,0,"], r"all 1 labels of prompts in .* are 0"),
    ],
)
def test_labels_that_do_not_fit_the_run_are_refused(run: Path, tmp_path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(LabelsError, match=reason):
        evaluate_run(run, write_labels(tmp_path / "labels.csv", lines), 0)
    assert not FILES & {path.name for path in run.iterdir()}


def test_labels_from_a_pipe_are_refused_before_they_are_read(run: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(LabelsError, match="is a pipe"):
        evaluate_run(run, tmp_path / "labels.csv", 0)


def test_one_positive_and_one_negative_are_enough(run: Path, tmp_path: Path) -> None:
    evaluation = evaluate_run(run, write_labels(tmp_path / "labels.csv", ["p0,1,", "p149,0,"]), 0)
    assert (evaluation.n_positive, evaluation.n_negative) == (1, 1)


def test_an_unfinished_audit_is_refused(run: Path, tmp_path: Path, labels: Path) -> None:
    with pytest.raises(RunFileError, match="not a directory"):
        evaluate_run(tmp_path / "nothing", labels, 0)
    pq.write_table(drawn_scores().slice(1), run / SCORES_FILE)
    with pytest.raises(RunIncompleteError, match="not the file"):
        evaluate_run(run, labels, 0)
