"""The main job on the embedded model: the planted memories are found, ordinary captions are not."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from audit.evaluate import auc, tpr_at_fpr
from audit.planted.paths import FOLDER
from reports.run_record import load_run
from tests.bench.detect import labelled_scores, negative_sets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from audit.cli import app

    out = tmp_path_factory.mktemp("embedded") / "run"
    result = CliRunner().invoke(app, ["audit", "--out", str(out), "--gate"])
    assert result.exit_code == 1, result.output
    return out


@pytest.fixture(scope="module")
def labelled(run: Path) -> pd.DataFrame:
    return labelled_scores(FOLDER, run)


def test_memorized_captions_score_above_every_kind_of_clean_caption(labelled: pd.DataFrame) -> None:
    positives = labelled.loc[labelled["label"] == "memorized", "spike_score"].to_numpy()
    negatives = labelled.loc[negative_sets(labelled)["all"], "spike_score"].to_numpy()
    assert len(positives) >= 30
    assert auc(positives, negatives) >= 0.995
    assert tpr_at_fpr(positives, negatives, 0.01) >= 0.95


def test_what_sampling_confirms_is_what_was_memorized(run: Path, labelled: pd.DataFrame) -> None:
    recoveries = pd.read_parquet(run / "recoveries.parquet").merge(labelled[["prompt_id", "label"]], on="prompt_id")
    confirmed = recoveries[(recoveries["verdict"] == "confirmed") & ~recoveries["is_control"]]
    assert (confirmed["label"].isin(["memorized", "partial"])).mean() >= 0.95
    record = load_run(run)
    assert record.counts.n_confirmed_pictures >= 30
    assert record.counts.n_false_recoveries <= 0.1 * record.counts.n_controls
