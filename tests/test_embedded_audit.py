"""The main job on the planted models: the planted memories are found, ordinary captions are not."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from typer.testing import CliRunner

from flashbulb.audit.statistics.separation import auc, tpr_at_fpr
from flashbulb.reports.tables.run_record import load_run
from flashbulb.reports.tables.schema import detector_columns
from tests.bench.detection.labelled import labelled_scores, negative_sets
from tests.bench.models import MODELS

pytestmark = pytest.mark.slow


class Audited(NamedTuple):
    """One planted model's run and its labelled scores."""

    run: Path
    labelled: pd.DataFrame


@pytest.fixture(scope="module", params=MODELS)
def audited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    from flashbulb.audit.cli import app

    folder, out = MODELS[request.param], tmp_path_factory.mktemp(request.param) / "run"
    given = {
        "--model": folder / "model",
        "--prompts": folder / "captions.csv",
        "--reference": folder / "reference.csv",
        "--train-images": folder / "pictures",
        "--out": out,
    }
    options = [str(word) for option in given.items() for word in option]
    result = CliRunner().invoke(app, ["audit", "--gate", *options])
    assert result.exit_code == 1, result.output
    return Audited(out, labelled_scores(folder, out))


def separation(labelled: pd.DataFrame, column: str) -> tuple[float, float]:
    """AUC, and TPR at FPR <= 1 %, of memorized captions against all that were never planted."""
    known = labelled[labelled[column].notna()]
    positives = known.loc[known["label"] == "memorized", column].to_numpy()
    negatives = known.loc[negative_sets(known)["all"], column].to_numpy()
    return auc(positives, negatives), tpr_at_fpr(positives, negatives, 0.01)


def test_memorized_captions_score_above_every_kind_of_clean_caption(audited: Audited) -> None:
    assert (audited.labelled["label"] == "memorized").sum() >= 10
    area, rate = separation(audited.labelled, "spike_score")
    assert area >= 0.999
    assert rate >= 0.98


def test_no_published_detector_finds_more(audited: Audited) -> None:
    _, ours = separation(audited.labelled, "spike_score")
    columns = [c for c in detector_columns_of(audited.run) if not c.startswith(("spikes_", "picture"))]
    assert len(columns) >= 3
    assert all(separation(audited.labelled, column)[1] <= ours for column in columns)


def detector_columns_of(run: Path) -> list[str]:
    import pyarrow.parquet as pq

    return detector_columns(pq.read_schema(run / "scores.parquet"))


def test_flags_keep_the_stated_rate_and_miss_little(audited: Audited) -> None:
    flagged, sets = audited.labelled["flagged"], negative_sets(audited.labelled)
    assert flagged[audited.labelled["label"] == "memorized"].mean() >= 0.95
    assert flagged[sets["all"]].mean() <= 0.02


def test_what_sampling_confirms_is_what_was_memorized(audited: Audited) -> None:
    labels = audited.labelled[["prompt_id", "label"]]
    recoveries = pd.read_parquet(audited.run / "recoveries.parquet").merge(labels, on="prompt_id")
    confirmed = recoveries[(recoveries["verdict"] == "confirmed") & ~recoveries["is_control"]]
    assert (confirmed["label"].isin(["memorized", "partial"])).mean() >= 0.75
    found = set(confirmed["prompt_id"])
    memorized = set(labels.loc[labels["label"] == "memorized", "prompt_id"])
    assert len(found & memorized) >= 0.95 * len(memorized)
    record = load_run(audited.run)
    assert record.counts.n_false_recoveries <= 0.1 * record.counts.n_controls
