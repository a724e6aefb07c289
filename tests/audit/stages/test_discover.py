"""A discovery ends when its budget, time or patience is spent, and an interrupted one can be resumed."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flashbulb.audit.additions.chosen import load_chosen
from flashbulb.audit.discover.closing import Closed, ClosingLooks
from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.loading import LoadedModel
from flashbulb.audit.recover.signs import Regression
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.directory import RunDirectoryError
from flashbulb.audit.settings import DiscoverSettings, SettingsError
from flashbulb.audit.stages.discover import run_discovery
from flashbulb.audit.stages.results.words import words_search
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.words.words import WordsSearch
from flashbulb.reports.tables.files import RunIncompleteError
from flashbulb.reports.views.discovery import ClosingCounts, DiscoveryRecord, load_discovery
from tests.audit.commands import digests, run_flashbulb, run_json
from tests.audit.counting import counted_matches
from tests.audit.searches import (
    COST_OF_START,
    N_REFERENCE,
    Shown,
    ToldVerifier,
    build_worded_pipe,
    evaluations_of,
    quick,
)

SHOWN = {(0, 1): 20, (1, 0): 90, (1, 1): 94, (2, 0): 160, (2, 1): 230}  # with a patience of 1 these take four rounds
ROUND = 2 * COST_OF_START
COST_OF_PULL = 15 * 3 + 3 * 10 * 2 + 6 + 8  # steps, guided samples, errors, familiarity


class Searched(NamedTuple):
    """A run directory, the UE that the UNet computed, and whether Ctrl-C ended the search."""

    run: Path
    spent: int
    interrupted: bool

    @property
    def record(self) -> DiscoveryRecord:
        return load_discovery(self.run)

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.run / "recoveries.parquet")


def discover(
    model: Path, run: Path, interrupted_in: int | None = None, shown: Shown = SHOWN, **changes: Any
) -> Searched:
    """Search the model as the command does, with a verifier that is told what images show."""
    spent: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:

        def load(*args: Any) -> LoadedModel:
            loaded = load_chosen(*args)
            spent.append(stack.enter_context(evaluations_of(loaded.pipe.unet)))
            return loaded

        patch.setattr("flashbulb.audit.stages.discover.load_chosen", load)
        patch.setattr(
            "flashbulb.audit.stages.discover.Verifier",
            partial(ToldVerifier, shown=shown, interrupted_in=interrupted_in),
        )
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
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search that ran without interruption; tests must not change it."""
    return discover(model, tmp_path_factory.mktemp("uninterrupted") / "run")


def assert_same_results(actual: Searched, expected: Searched) -> None:
    pd.testing.assert_frame_equal(actual.table, expected.table)
    names = (
        "evaluations",
        "findings",
        "unseen",
        "n_rounds",
        "n_starts",
        "n_confirmed",
        "n_likely",
        "stopped_because",
        "tables",
    )
    assert [getattr(actual.record, name) for name in names] == [getattr(expected.record, name) for name in names]
    assert digests(actual.run / "images") == digests(expected.run / "images")


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


def test_looks_after_rounds_that_took_the_budget_stay_within_it(model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"budget": 700, "patience": 99, "n_candidates": 2, "n_starts": 8}
    bare = discover(model, tmp_path / "run", **options).record
    closed = discover(model, tmp_path / "run", **options, closing_looks=True).record
    assert closed.n_rounds < bare.n_rounds
    assert closed.closing.n_looked >= 1
    assert sum(closed.evaluations.values()) <= 700
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


def test_no_round_begins_after_the_time_limit_and_the_search_resumes(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    late = discover(model, tmp_path / "run", budget=None, minutes=1e-6)
    assert late.spent == N_REFERENCE
    assert (late.record.n_rounds, late.record.findings, late.record.stopped_because) == (0, (), "budget")
    assert late.record.budget is None
    assert len(late.table) == 0
    assert "of a budget" not in (tmp_path / "run" / "summary.md").read_text(encoding="utf-8")
    assert_same_results(discover(model, tmp_path / "run"), uninterrupted)


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


@pytest.mark.parametrize("images", [True, False])
def test_closing_looks_are_paid_from_the_budget_and_refuse_what_is_no_memory(
    model: Path, tmp_path: Path, images: bool
) -> None:
    closed = discover(model, tmp_path / "run", closing_looks=True, budget=3000, images=images)
    record = closed.record
    assert (record.closing, record.findings, record.n_confirmed) == (ClosingCounts(4, 4, 0), (), 0)  # it knows nothing
    assert sum(record.evaluations.values()) == closed.spent <= 3000
    assert record.evaluations["close"] == 4 * COST_OF_PULL  # what promises so little is pulled at once
    assert closed.table.empty
    assert not list(tmp_path.rglob("finding-*.png"))
    if images:
        again = discover(model, tmp_path / "run", closing_looks=True, budget=3000)
        assert_same_results(again, closed)
        assert again.spent == N_REFERENCE


def test_looks_and_words_are_resumed_with_another_batch_size(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.closing.WEIGHTS", Regression(9.0, {}))
    monkeypatch.setattr("flashbulb.audit.discover.closing.MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    monkeypatch.setattr("flashbulb.audit.stages.results.words.words_search", small_search)
    options: dict[str, Any] = {"closing_looks": True, "budget": 3000, "words_budget": 400}
    first = discover(model, tmp_path / "run", **options)
    assert (first.record.closing.n_looked, first.record.n_words_searched) >= (1, 1)
    again = discover(model, tmp_path / "run", batch_size=3, **options)
    assert again.spent == N_REFERENCE
    assert_same_results(again, first)


def test_findings_that_looks_refused_are_listed_again_without_looks(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    discover(model, tmp_path / "run", closing_looks=True, budget=3000)
    assert_same_results(discover(model, tmp_path / "run", budget=3000), uninterrupted)


def test_looks_that_the_budget_does_not_pay_for_are_taken_with_a_larger_one(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    first = discover(model, tmp_path / "run", closing_looks=True, budget=700)
    assert first.record.closing == ClosingCounts(3, 3, 0)
    assert len(first.record.findings) == 1  # as the search found it
    assert first.spent <= 700
    more = discover(model, tmp_path / "run", closing_looks=True, budget=3000)
    assert (more.record.n_rounds, more.record.closing) == (uninterrupted.record.n_rounds, ClosingCounts(4, 4, 0))
    assert first.spent + more.spent == sum(more.record.evaluations.values()) + N_REFERENCE


def test_a_finding_that_no_look_was_left_for_is_not_listed_beside_one_that_shows_its_image(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.closing.WEIGHTS", Regression(9.0, {}))
    monkeypatch.setattr("flashbulb.audit.discover.closing.MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    monkeypatch.setattr("flashbulb.audit.stages.results.closing.SAME_IMAGE_DISTANCE", 2.0)  # all are one image
    closed = discover(model, tmp_path / "run", closing_looks=True, budget=360)  # pays for one look of four
    assert closed.record.closing == ClosingCounts(1, 0, 3)
    assert len(closed.record.findings) == 1
    assert set(digests(closed.run / "images")) == {f"{closed.record.findings[0].finding_id}.png"}


def test_a_finding_that_a_look_confirms_shows_what_the_look_saw(
    model: Path, uninterrupted: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.closing.WEIGHTS", Regression(9.0, {}))
    monkeypatch.setattr("flashbulb.audit.discover.closing.MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    closed = discover(model, tmp_path / "run", closing_looks=True, budget=3000)
    counts, findings = closed.record.closing, closed.record.findings
    assert counts.n_refused == 0
    assert len(findings) == 4 - counts.n_repeated >= 1
    assert {finding.verdict for finding in findings} == {"confirmed"}
    row = closed.table.iloc[0]
    assert row["confidence"] == pytest.approx(0.9998766, abs=1e-6)
    before = uninterrupted.table.set_index("finding_id").loc[row["finding_id"]]
    assert row["evaluations"] == before["evaluations"] + COST_OF_PULL  # the first pull was sure
    with Image.open(closed.run / row["image_path"]) as image:
        assert image.getextrema() != ((20, 20),) * 3


def test_single_samples_that_a_look_confirms_are_found(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.closing.WEIGHTS", Regression(9.0, {}))
    monkeypatch.setattr("flashbulb.audit.discover.closing.MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    options: dict[str, Any] = {"shown": {}, "n_candidates": 2, "closing_looks": True}
    closed = discover(model, tmp_path / "run", budget=3000, **options)
    record = closed.record
    assert (record.n_rounds, record.unseen, record.closing.n_refused) == (1, None, 0)  # no start shows anything
    assert 1 <= len(record.findings) <= record.closing.n_looked <= 2
    assert sum(record.evaluations.values()) == closed.spent
    assert [finding.times_found for finding in record.findings] == [1] * len(record.findings)
    assert {f"{finding.finding_id}.png" for finding in record.findings} == set(digests(closed.run / "images"))
    again = discover(model, tmp_path / "run", budget=3000, **options)
    assert again.spent == N_REFERENCE
    assert_same_results(again, closed)
    without = discover(model, tmp_path / "run", budget=3000, **{**options, "closing_looks": False})
    assert (without.record.findings, digests(closed.run / "images")) == ((), {})


def training_folder(parent: Path, image: RgbImage) -> Path:
    """Save one training image in a folder of its own."""
    (parent / "training").mkdir()
    Image.fromarray(image).save(parent / "training" / "secret.png")
    return parent / "training"


def see_in_looks(monkeypatch: pytest.MonkeyPatch, image: RgbImage) -> None:
    """Let every closing look see this image, and pay for one look after a round."""

    def look(_self: ClosingLooks, images: RgbImages, _keys: object) -> list[Closed]:
        return [Closed(np.stack([image] * 3), 0.99, 10)] * len(images)

    monkeypatch.setattr(ClosingLooks, "look", look)
    monkeypatch.setattr("flashbulb.audit.stages.results.closing.LOOKS_SHARE", 0.9)


def test_a_training_image_that_a_look_copied_is_listed_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    see_in_looks(monkeypatch, secret)
    options = {"n_candidates": 1, "closing_looks": True, "train_images": training_folder(tmp_path, secret)}
    record = discover(model, tmp_path / "run", shown={(1, 0): secret}, patience=2, budget=3000, **options).record
    assert [(finding.finding_id, finding.verdict) for finding in record.findings] == [("finding-001", "confirmed")]
    assert record.closing.n_repeated == 1  # the start of the second round that shows it


def test_rounds_and_matches_are_kept_for_the_same_training_images_only(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    see_in_looks(monkeypatch, secret)
    folder = training_folder(tmp_path, secret)
    options = {"n_candidates": 1, "closing_looks": True, "train_images": folder, "budget": 3000}
    shown = {(1, 0): secret}
    first = discover(model, tmp_path / "run", shown=shown, **options)
    with counted_matches() as matched:
        again = discover(model, tmp_path / "run", shown=shown, **options)
    assert_same_results(again, first)
    assert (again.spent, matched.n_samples) == (N_REFERENCE, 0)
    assert [finding.verdict for finding in first.record.findings] == ["confirmed"]
    Image.fromarray(255 - secret).save(folder / "secret.png")
    other = discover(model, tmp_path / "run", shown=shown, **options)
    assert other.spent > N_REFERENCE
    assert "confirmed" not in [finding.verdict for finding in other.record.findings]


def test_a_copy_of_a_training_image_that_no_look_was_left_for_is_listed_beside_what_is_near(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, other = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    see_in_looks(monkeypatch, other)
    monkeypatch.setattr("flashbulb.audit.stages.results.closing.SAME_IMAGE_DISTANCE", 2.0)  # all are near
    options = {"closing_looks": True, "train_images": training_folder(tmp_path, secret), "patience": 3}
    record = discover(model, tmp_path / "run", shown={(0, 1): other, (1, 0): secret}, budget=300, **options).record
    assert [finding.verdict for finding in record.findings] == ["likely", "confirmed"]


def small_search(denoiser: Denoiser, training: TrainingImages | None, settings: DiscoverSettings) -> WordsSearch:
    """The search for words, so short that a finding takes a second."""
    usual = words_search(denoiser, training, settings)
    plan = replace(usual.plan, n_starts=4, n_stages=1, stage_evaluations=20, n_samples=4, sample_steps=2)
    return WordsSearch(denoiser, Verifier(denoiser, VerifyPlan(0, 2, 2, 8)), training, plan)


@pytest.mark.parametrize("images", [True, False])
def test_words_are_searched_within_their_own_budget_and_resumed(
    model: Path, uninterrupted: Searched, tmp_path: Path, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.stages.results.words.words_search", small_search)
    first = discover(model, tmp_path / "run", words_budget=400, images=images)
    assert [f.evaluations for f in first.record.findings] == [f.evaluations for f in uninterrupted.record.findings]
    assert first.record.evaluations == uninterrupted.record.evaluations
    assert 1 <= first.record.n_words_searched < 4
    assert 0 < first.record.words_evaluations <= 400
    assert first.spent == uninterrupted.spent + first.record.words_evaluations
    assert "## Prompts in words" in (first.run / "summary.md").read_text(encoding="utf-8")
    again = discover(model, tmp_path / "run", words_budget=4000, images=images)
    assert again.record.n_words_searched == 4
    assert again.record.words_evaluations == 4 * first.record.words_evaluations // first.record.n_words_searched
    if images:
        assert again.spent < N_REFERENCE + again.record.words_evaluations


def test_a_budget_that_pays_for_no_words_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not pay for the words of one finding, which take up to 2"):
        discover(model, tmp_path / "run", words_budget=500)
    assert not (tmp_path / "run").exists()


def test_without_a_budget_no_words_are_searched(uninterrupted: Searched) -> None:
    assert (uninterrupted.record.n_words_searched, uninterrupted.record.words_evaluations) == (0, 0)
    assert "Prompts in words" not in (uninterrupted.run / "summary.md").read_text(encoding="utf-8")
