"""Labels that do not fit the audit are counted or refused, and the evaluation of the others is complete."""

import os
from pathlib import Path

import numpy as np
import pytest

from flashbulb.audit.prompts.labels import LabelsError
from flashbulb.audit.stages.evaluate import evaluate_run
from flashbulb.audit.statistics.separation import auc
from tests.audit.stages.evaluation.conftest import (
    FILES,
    N_NEGATIVE,
    N_POSITIVE,
    drawn_scores,
    row_of,
    set_columns,
    write_audit,
    write_labels,
)


def test_prompts_without_a_score_are_left_out_and_counted(run: Path, labels: Path) -> None:
    row = row_of(evaluate_run(run, labels, 0), "text_noise")
    assert (row.n_positive, row.n_negative, row.n_missing) == (10, 40, 100)
    scores = np.array(drawn_scores()["spike_score"])[::3]
    assert row.auc is not None
    assert row.auc.value == auc(scores[:10], scores[10:])


def test_labels_that_no_detector_covers_are_refused(tmp_path: Path, labels: Path) -> None:
    scores = drawn_scores()
    blank = {"tier": 0, "flagged": False, "spike_score": None, "spikes_ff": None, "text_noise": None}
    left_out = {name: [*scores[name].to_pylist()[:N_POSITIVE], *[value] * N_NEGATIVE] for name, value in blank.items()}
    run = write_audit(tmp_path / "run", set_columns(scores, left_out))
    with pytest.raises(LabelsError, match="no detector scored both"):
        evaluate_run(run, labels, 0)


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
