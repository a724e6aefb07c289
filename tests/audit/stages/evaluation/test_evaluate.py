"""An evaluation compares the labelled prompts, reports what it leaves out, and writes complete files."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flashbulb.audit.stages.evaluate import evaluate_detector, evaluate_run
from flashbulb.audit.statistics.separation import auc, rate_estimate, tpr_at_fpr
from flashbulb.reports.tables.files import SCORES_FILE, RunFileError, RunIncompleteError, sha256_of
from flashbulb.reports.tables.schema import read_table
from flashbulb.reports.views.evaluation import EVALUATION_SCHEMA, Estimate
from tests.audit.stages.evaluation.conftest import (
    FILES,
    N_NEGATIVE,
    N_POSITIVE,
    drawn_scores,
    row_of,
    set_columns,
    write_audit,
)
from tests.reports.examples import DETECTORS
from tests.reports.run_files import read_metadata


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


def test_a_detector_that_never_ran_has_no_rates(tmp_path: Path, labels: Path) -> None:
    scores = set_columns(drawn_scores(), {"text_noise": [None] * (N_POSITIVE + N_NEGATIVE)})
    run = write_audit(tmp_path / "run", scores)
    row = row_of(evaluate_run(run, labels, 0), "text_noise")
    assert (row.n_missing, row.auc, row.tpr_1, row.average_precision) == (150, None, None, None)
    assert "| `text_noise` | - | - | - | - | 0 | 0 | 150 |" in (run / "evaluation.md").read_text(encoding="utf-8")


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


def test_an_unfinished_audit_is_refused(run: Path, tmp_path: Path, labels: Path) -> None:
    with pytest.raises(RunFileError, match="not a directory"):
        evaluate_run(tmp_path / "nothing", labels, 0)
    pq.write_table(drawn_scores().slice(1), run / SCORES_FILE)
    with pytest.raises(RunIncompleteError, match="not the file"):
        evaluate_run(run, labels, 0)
