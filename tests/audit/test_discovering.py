"""A discovery ends with its budget, its time or its patience, and goes on where it was interrupted."""

import json
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from audit.config import SettingsError
from audit.discovering import run_discovery
from audit.loading import LoadedModel, load_model
from audit.rundir import RunDirectoryError
from reports.discovery import DiscoveryRecord, load_discovery
from reports.files import RunIncompleteError
from tests.audit.commands import digests, engram, run_json
from tests.audit.searches import COST_OF_START, N_REFERENCE, ToldVerifier, build_worded_pipe, evaluations_of, quick

SHOWN = {(0, 1): 20, (1, 0): 90, (1, 1): 94, (2, 0): 160, (2, 1): 230}  # with a patience of 1 that is four rounds
ROUND = 2 * COST_OF_START


class Searched(NamedTuple):
    """A run directory, the UE that were really spent, and whether Ctrl-C ended it."""

    run: Path
    spent: int
    interrupted: bool

    @property
    def record(self) -> DiscoveryRecord:
        return load_discovery(self.run)

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.run / "recoveries.parquet")


def discover(model: Path, run: Path, interrupted_in: int | None = None, **changes: Any) -> Searched:
    """Search the model as the command does, but told what is shown."""
    spent: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:

        def load(*given: Any, **named: Any) -> LoadedModel:
            loaded = load_model(*given, **named)
            spent.append(stack.enter_context(evaluations_of(loaded.pipe.unet)))
            return loaded

        patch.setattr("audit.discovering.load_model", load)
        patch.setattr("audit.discovering.Verifier", partial(ToldVerifier, shown=SHOWN, interrupted_in=interrupted_in))
        try:
            run_discovery(quick(model=str(model), out=run, **{"patience": 1, **changes}), force=False)
        except KeyboardInterrupt:
            return Searched(run, sum(spent[0]), True)
        return Searched(run, sum(spent[0]), False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved toy pipeline whose tokenizer knows words."""
    folder = tmp_path_factory.mktemp("searched") / "model"
    build_worded_pipe().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search that nothing interrupted; leave it as it was."""
    return discover(model, tmp_path_factory.mktemp("whole") / "run")


def assert_same_results(one: Searched, other: Searched) -> None:
    pd.testing.assert_frame_equal(one.table, other.table)
    stated = ("evaluations", "findings", "n_rounds", "n_starts", "n_confirmed", "n_likely", "stopped_because", "tables")
    assert [getattr(one.record, name) for name in stated] == [getattr(other.record, name) for name in stated]
    pictures = [digests(searched.run / "images") for searched in (one, other)]
    assert pictures[0] == pictures[1]


def test_finished_search_states_what_it_found_and_spent(whole: Searched) -> None:
    record = whole.record
    assert [(f.finding_id, f.verdict) for f in record.findings] == [
        (f"finding-00{i}", "confirmed") for i in range(1, 5)
    ]
    assert (record.n_rounds, record.n_starts, record.stopped_because) == (4, 8, "nothing_new")
    assert sum(record.evaluations.values()) == whole.spent
    assert record.budget is not None
    assert whole.spent <= record.budget
    assert record.timings["prepare"] > 0
    assert record.timings["search"] > 0
    assert record.curve[-1] == (whole.spent, 4)
    for name in ("summary.md", "discovery.png", "evidence.png"):
        assert (whole.run / name).is_file()
    assert not list(whole.run.rglob("*.part"))


def test_recoveries_have_no_prompt_and_a_picture_that_says_whence_it_comes(whole: Searched) -> None:
    rows = pq.read_table(whole.run / "recoveries.parquet").to_pylist()
    assert [row["finding_id"] for row in rows] == [finding.finding_id for finding in whole.record.findings]
    assert [row["restart"] for row in rows] == [0, 1, 2, 2]
    for row, level, start in zip(rows, (20, 90, 160, 230), (1, 0, 0, 1), strict=True):
        assert (row["prompt_id"], row["strategy"], row["is_control"]) == (None, "discover", False)
        assert row["evaluations"] <= COST_OF_START
        with Image.open(whole.run / row["image_path"]) as image:
            assert image.getextrema() == ((level, level),) * 3
            stated = json.loads(image.info["engram"])
        assert (stated["strategy"], stated["round"], stated["start"]) == ("discover", row["restart"], start)
        assert stated["fingerprint"] == whole.record.model.fingerprint


def test_interrupted_search_goes_on_to_the_result_of_an_uninterrupted_one(
    model: Path, whole: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    first = discover(model, run, interrupted_in=2)
    assert first.interrupted
    assert run_json(run)["status"] == "discovering"
    assert len(first.table) == 2
    with pytest.raises(RunIncompleteError, match="run it again to finish it"):
        load_discovery(run)
    kept = {path: path.stat().st_mtime_ns for path in (run / "discovery").iterdir()}
    capsys.readouterr()
    second = discover(model, run)
    assert_same_results(second, whole)
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("finding-")]
    assert printed == [finding.finding_id for finding in whole.record.findings]
    earlier = sum(whole.record.evaluations.values()) - second.spent
    assert 2 * (ROUND - 2 * 8) <= earlier <= 2 * ROUND  # two rounds were kept; only shown starts take a closer look
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_finished_search_is_not_searched_again_unless_with_more_patience(
    model: Path, whole: Searched, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole.run, tmp_path / "run"))
    again = discover(model, run)
    assert again.spent == N_REFERENCE
    assert_same_results(again, whole)
    assert again.record.timings["search"] == whole.record.timings["search"]
    patient = discover(model, run, patience=2)
    assert (patient.record.n_rounds, len(patient.record.findings)) == (5, 4)
    assert patient.record.timings["search"] > whole.record.timings["search"]


def test_larger_budget_goes_on(model: Path, whole: Searched, tmp_path: Path) -> None:
    small = discover(model, tmp_path / "run", budget=N_REFERENCE + ROUND)
    assert (small.record.n_rounds, small.record.stopped_because) == (1, "budget")
    assert small.spent <= N_REFERENCE + ROUND
    assert_same_results(discover(model, tmp_path / "run"), whole)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 5}, "settings.seed was 0, now 5"),
        ({"steps": 3}, "settings.steps was 1, now 3"),
        ({"images": False}, "settings.images was True, now False"),
    ],
)
def test_another_search_leaves_the_directory_as_it_is(
    model: Path, whole: Searched, changes: dict[str, Any], line: str
) -> None:
    before = digests(whole.run)
    with pytest.raises(RunDirectoryError, match=line):
        discover(model, whole.run, **changes)
    assert digests(whole.run) == before


def test_budget_below_one_start_is_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    least = N_REFERENCE + COST_OF_START
    with pytest.raises(SettingsError, match=f"--budget {least - 1} does not pay .* give at least {least}$"):
        discover(model, tmp_path / "run", budget=least - 1)
    assert not (tmp_path / "run").exists()
    assert discover(model, tmp_path / "run", budget=least).record.n_starts == 1


def test_no_round_begins_after_its_minutes(model: Path, tmp_path: Path) -> None:
    late = discover(model, tmp_path / "run", budget=None, minutes=1e-6)
    assert late.spent == N_REFERENCE
    assert (late.record.n_rounds, late.record.findings, late.record.stopped_because) == (0, (), "budget")
    assert late.record.budget is None
    assert len(late.table) == 0
    assert "of a budget" not in (tmp_path / "run" / "summary.md").read_text(encoding="utf-8")


def test_without_images_no_picture_is_left(model: Path, whole: Searched, tmp_path: Path) -> None:
    bare = discover(model, tmp_path / "run", images=False, budget=N_REFERENCE + ROUND)
    left = {path.name for path in bare.run.rglob("*") if path.is_file()}
    assert left == {"run.json", "recoveries.parquet", "summary.md", "discovery.png"}
    assert bare.table["image_path"].isna().all()
    pd.testing.assert_frame_equal(bare.table.drop(columns="image_path"), whole.table[:1].drop(columns="image_path"))
    assert bare.record.findings == whole.record.findings[:1]


def test_discovery_is_no_audit_to_the_gate(whole: Searched) -> None:
    answer = engram("gate", whole.run)
    assert answer.code == 3
    assert len(answer.errors) == len(answer.err.splitlines()) == 1
    assert "is of a discovery, not of an audit" in answer.errors[0]
