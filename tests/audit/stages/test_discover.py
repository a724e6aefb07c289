"""A discovery ends when its budget, time or patience is spent, and an interrupted one can be resumed."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flashbulb.audit.run import progress
from flashbulb.audit.run.directory import RunDirectoryError
from flashbulb.audit.settings import SettingsError
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.views.discovery import load_discovery
from tests.audit.commands import digests, run_flashbulb, run_json
from tests.audit.discoveries import Searched, assert_same_results, discover
from tests.audit.searches import (
    COST_OF_START,
    N_REFERENCE,
)

ROUND = 2 * COST_OF_START


def test_finished_search_records_its_findings_and_cost(uninterrupted: Searched) -> None:
    record = uninterrupted.record
    assert [(f.finding_id, f.verdict) for f in record.findings] == [
        (f"finding-00{i}", "confirmed") for i in range(1, 5)
    ]
    assert (record.n_rounds, record.n_starts, record.stopped_because) == (4, 8, "nothing_new")
    assert sum(record.evaluations.values()) == uninterrupted.spent
    assert record.budget is not None
    assert uninterrupted.spent <= record.budget
    assert record.timings["prepare"] > 0
    assert record.timings["search"] > 0
    assert record.curve[-1] == (uninterrupted.spent, 4)
    for name in ("summary.md", "discovery.png", "evidence.png"):
        assert (uninterrupted.run / name).is_file()
    assert not list(uninterrupted.run.rglob("*.part"))


def test_recoveries_have_no_prompt_and_an_image_that_records_its_origin(uninterrupted: Searched) -> None:
    rows = pq.read_table(uninterrupted.run / "recoveries.parquet").to_pylist()
    assert [row["finding_id"] for row in rows] == [finding.finding_id for finding in uninterrupted.record.findings]
    assert [row["restart"] for row in rows] == [0, 1, 2, 2]
    for row, level, start in zip(rows, (20, 90, 160, 230), (1, 0, 0, 1), strict=True):
        assert (row["prompt_id"], row["strategy"], row["is_control"]) == (None, "discover", False)
        assert row["evaluations"] <= COST_OF_START
        with Image.open(uninterrupted.run / row["image_path"]) as image:
            assert image.getextrema() == ((level, level),) * 3
            metadata = json.loads(image.info["flashbulb"])
        assert (metadata["strategy"], metadata["round"], metadata["start"]) == ("discover", row["restart"], start)
        assert metadata["fingerprint"] == uninterrupted.record.model.fingerprint


def test_resumed_search_gives_the_result_of_an_uninterrupted_one(
    model: Path, uninterrupted: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert_same_results(second, uninterrupted)
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("finding-")]
    assert printed == [finding.finding_id for finding in uninterrupted.record.findings]
    earlier = sum(uninterrupted.record.evaluations.values()) - second.spent
    assert 2 * (ROUND - 2 * 8) <= earlier <= 2 * ROUND  # two rounds were kept; only shown starts are verified
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_progress_moves_within_a_round_and_counts_what_is_spent(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "flashbulb"):
        searched = discover(model, tmp_path / "run", text_starts=1)
    told = [int(line.split()[1].split("/")[0]) for line in caplog.messages if line.startswith("searching ")]
    assert told == sorted(told)
    assert told[0] <= N_REFERENCE
    assert told[-1] == sum(searched.record.evaluations.values()) == searched.spent
    assert len(told) > 10 * searched.record.n_rounds
    assert searched.record.n_text_starts == searched.record.n_starts


def test_finished_search_is_resumed_only_with_more_patience(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(uninterrupted.run, tmp_path / "run"))
    again = discover(model, run)
    assert again.spent == N_REFERENCE
    assert_same_results(again, uninterrupted)
    assert again.record.timings["search"] == uninterrupted.record.timings["search"]
    patient = discover(model, run, patience=2)
    assert (patient.record.n_rounds, len(patient.record.findings)) == (5, 4)
    assert patient.record.timings["search"] > uninterrupted.record.timings["search"]


def test_larger_budget_resumes_the_search(model: Path, uninterrupted: Searched, tmp_path: Path) -> None:
    small = discover(model, tmp_path / "run", budget=N_REFERENCE + ROUND)
    assert (small.record.n_rounds, small.record.stopped_because) == (1, "budget")
    assert small.spent <= N_REFERENCE + ROUND
    assert_same_results(discover(model, tmp_path / "run"), uninterrupted)


def test_smaller_budget_is_not_exceeded_and_loses_no_round(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(uninterrupted.run, tmp_path / "run"))
    small = discover(model, run, budget=N_REFERENCE + ROUND)
    assert (small.record.n_rounds, small.record.stopped_because) == (1, "budget")
    assert sum(small.record.evaluations.values()) <= N_REFERENCE + ROUND
    again = discover(model, run)
    assert again.spent == N_REFERENCE
    assert_same_results(again, uninterrupted)


@pytest.mark.usefixtures("short_pulls")
def test_looks_after_rounds_that_took_the_budget_stay_within_it(model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"budget": 400, "patience": 99, "n_candidates": 2, "n_starts": 8}
    bare = discover(model, tmp_path / "run", **options).record
    closed = discover(model, tmp_path / "run", **options, closing_looks=True).record
    assert closed.n_rounds < bare.n_rounds
    assert closed.closing.n_looked >= 1
    assert sum(closed.evaluations.values()) <= 400
    again = discover(model, tmp_path / "run", **options).record
    assert (again.findings, again.evaluations) == (bare.findings, bare.evaluations)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 5}, "settings.seed was 0, now 5"),
        ({"steps": 3}, "settings.steps was 1, now 3"),
        ({"images": False}, "settings.images was True, now False"),
    ],
)
def test_search_with_other_settings_is_refused_and_changes_nothing(
    model: Path, uninterrupted: Searched, changes: dict[str, Any], line: str
) -> None:
    before = digests(uninterrupted.run)
    with pytest.raises(RunDirectoryError, match=line):
        discover(model, uninterrupted.run, **changes)
    assert digests(uninterrupted.run) == before


def test_budget_below_one_start_is_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    least = N_REFERENCE + COST_OF_START
    with pytest.raises(SettingsError, match=f"--budget {least - 1} does not pay .* give at least {least}$"):
        discover(model, tmp_path / "run", budget=least - 1)
    assert not (tmp_path / "run").exists()
    assert discover(model, tmp_path / "run", budget=least).record.n_starts == 1


def test_a_time_limit_that_leaves_no_round_is_refused_and_the_search_resumes(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"--minutes 1e-06 were over before the first round, .* give more$"):
        discover(model, tmp_path / "run", budget=None, minutes=1e-6)
    assert_same_results(discover(model, tmp_path / "run"), uninterrupted)


def test_no_round_begins_after_the_time_limit(model: Path, uninterrupted: Searched, tmp_path: Path) -> None:
    run = tmp_path / "run"
    discover(model, run, budget=N_REFERENCE + ROUND)
    late = discover(model, run, budget=None, minutes=1e-6)
    assert late.spent == N_REFERENCE
    assert (late.record.n_rounds, late.record.stopped_because, late.record.budget) == (1, "budget", None)
    assert "of a budget" not in (run / "summary.md").read_text(encoding="utf-8")
    assert_same_results(discover(model, run), uninterrupted)


def test_search_stops_when_little_is_left_and_resumes_without_that_limit(model: Path, tmp_path: Path) -> None:
    shown = {(number, start): 60 for number in range(9) for start in range(2)}
    run, budget = tmp_path / "run", N_REFERENCE + 5 * ROUND
    early = discover(model, run, shown=shown, patience=9, budget=budget, stop_at=0.5)
    unseen = early.record.unseen
    assert (early.record.n_rounds, early.record.stopped_because) == (3, "little_left")
    assert unseen is not None
    assert (unseen.n_once, unseen.n_finds) == (0, 6)
    assert [finding.times_found for finding in early.record.findings] == [6]
    assert "| left to find | about 0 % of further finds" in (run / "summary.md").read_text(encoding="utf-8")
    whole = discover(model, tmp_path / "whole", shown=shown, patience=9, budget=budget)
    assert whole.record.n_rounds > 5
    assert_same_results(discover(model, run, shown=shown, patience=9, budget=budget), whole)


def test_starts_of_a_text_are_resumed_and_recorded(model: Path, uninterrupted: Searched, tmp_path: Path) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("caption\na boat on the lake\nthe old tower\n", encoding="utf-8")
    whole = discover(model, tmp_path / "whole", starts_from=str(texts))
    run = tmp_path / "run"
    assert discover(model, run, starts_from=str(texts), interrupted_in=2).interrupted
    assert_same_results(discover(model, run, starts_from=str(texts)), whole)
    given = run_json(run)["inputs"]["starts_from"]
    assert (given["source"], given["n_rows"]) == (str(texts), 2)
    images = [digests(searched.run / "discovery") for searched in (whole, uninterrupted)]
    assert images[0] != images[1]
    texts.write_text("caption\nanother text\n", encoding="utf-8")
    with pytest.raises(RunDirectoryError, match="starts_from_sha256"):
        discover(model, run, starts_from=str(texts))


def test_search_without_images_writes_no_image(model: Path, uninterrupted: Searched, tmp_path: Path) -> None:
    bare = discover(model, tmp_path / "run", images=False, budget=N_REFERENCE + ROUND)
    left = {path.name for path in bare.run.rglob("*") if path.is_file()}
    assert left == {"run.json", "recoveries.parquet", "summary.md", "discovery.png"}
    assert bare.table["image_path"].isna().all()
    pd.testing.assert_frame_equal(
        bare.table.drop(columns="image_path"), uninterrupted.table[:1].drop(columns="image_path")
    )
    assert bare.record.findings == uninterrupted.record.findings[:1]


def test_gate_refuses_a_discovery(uninterrupted: Searched) -> None:
    answer = run_flashbulb("gate", uninterrupted.run)
    assert answer.code == 3
    assert len(answer.errors) == len(answer.err.splitlines()) == 1
    assert "belongs to a discovery, not to an audit" in answer.errors[0]
