"""Closing looks are paid from the budget, kept, and judged by confidence; with training images, by copies of one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flashbulb.audit.discover.closing import Closed, ClosingLooks, ClosingPlan
from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.recover.signs import Regression
from flashbulb.audit.stages.results.closing import LIKELY_AT, outcome_of
from flashbulb.audit.training_images.storage import open_training_images
from flashbulb.reports.tables.limits import CONFIRMED_AT
from flashbulb.reports.views.discovery import ClosingCounts
from tests.audit.commands import digests
from tests.audit.counting import counted_matches
from tests.audit.discoveries import Searched, assert_same_results, copied, discover, small_search
from tests.audit.searches import N_REFERENCE
from tests.cases import slow_unless_in


def blocks(seed: int) -> RgbImage:
    """An image of random blocks, [16, 16, 3]."""
    return np.kron(
        np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8)
    )


def closed(confidence: float) -> Closed:
    return Closed(np.stack([blocks(0)] * 3), confidence, 119)


@pytest.mark.parametrize(
    ("confidence", "verdict"),
    [
        (CONFIRMED_AT, "confirmed"),
        (CONFIRMED_AT - 0.01, "likely"),
        (LIKELY_AT, "likely"),
        (LIKELY_AT - 0.01, "not_shown"),
    ],
)
def test_confidence_decides_without_training_images(confidence: float, verdict: str) -> None:
    outcome = outcome_of(closed(confidence), None)
    assert (outcome.verdict, outcome.confidence) == (verdict, confidence)


@pytest.mark.parametrize(("seed", "verdict"), [(0, "confirmed"), (1, "likely")])
def test_with_training_images_only_a_copy_of_one_is_confirmed(tmp_path: Path, seed: int, verdict: str) -> None:
    Image.fromarray(blocks(seed)).save(tmp_path / "image.png")
    outcome = outcome_of(closed(0.99), open_training_images(tmp_path, 16, 16))
    assert outcome.verdict == verdict
    assert outcome.nearest is not None


@pytest.mark.parametrize("images", slow_unless_in([True], [True, False]))
def test_closing_looks_are_paid_from_the_budget_and_refuse_what_is_no_memory(
    model: Path, tmp_path: Path, images: bool, short_pulls: int
) -> None:
    closed = discover(model, tmp_path / "run", closing_looks=True, budget=3000, images=images)
    record = closed.record
    assert (record.closing, record.findings, record.n_confirmed) == (ClosingCounts(4, 4, 0), (), 0)  # it knows nothing
    assert sum(record.evaluations.values()) == closed.spent <= 3000
    assert record.evaluations["close"] == 4 * short_pulls  # what promises so little is pulled at once
    assert closed.table.empty
    assert not list(tmp_path.rglob("finding-*.png"))
    if images:
        again = discover(model, copied(closed, tmp_path), closing_looks=True, budget=3000)
        assert_same_results(again, closed)
        assert again.spent == N_REFERENCE


def test_looks_that_another_release_took_otherwise_are_taken_again_and_count_once(
    model: Path, tmp_path: Path, short_pulls: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover(model, tmp_path / "run", closing_looks=True, budget=3000)
    monkeypatch.setattr(ClosingPlan, "identity", {"plan": "of another release"})
    with caplog.at_level("INFO"):
        again = discover(model, copied(first, tmp_path), closing_looks=True, budget=3000)
    assert caplog.text.count("taking 1 look of another release, at other images or not complete again") == 4
    assert_same_results(again, first)
    assert again.record.evaluations == first.record.evaluations
    assert again.spent == N_REFERENCE + 4 * short_pulls


@pytest.mark.usefixtures("short_pulls")
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_looks_of_a_call_that_was_cut_off_while_they_were_written_are_taken_again_together(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    calls: list[set[str]] = []
    look = ClosingLooks.look

    def noted(looks: ClosingLooks, images: RgbImages, keys: Sequence[str]) -> list[Closed]:
        calls.append({*keys})
        return look(looks, images, keys)

    monkeypatch.setattr(ClosingLooks, "look", noted)
    options: dict[str, Any] = {"closing_looks": True, "budget": 3000, "n_candidates": 3}
    discover(model, tmp_path / "run", **options)
    kept, together = digests(tmp_path / "run" / "discovery"), next(keys for keys in calls if len(keys) > 1)
    spoil(tmp_path / "run" / "discovery" / f"closing-{max(together)}.safetensors")
    calls.clear()
    discover(model, tmp_path / "run", **options)
    assert calls == [together]
    assert digests(tmp_path / "run" / "discovery") == kept


@pytest.mark.usefixtures("short_pulls")
def test_looks_and_words_are_resumed_with_another_batch_size(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.closing.WEIGHTS", Regression(9.0, {}))
    monkeypatch.setattr("flashbulb.audit.discover.closing.MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    monkeypatch.setattr("flashbulb.audit.stages.results.words.words_search", small_search)
    options: dict[str, Any] = {"closing_looks": True, "budget": 3000, "words_budget": 400}
    first = discover(model, tmp_path / "run", **options)
    assert (first.record.closing.n_looked, first.record.n_words_searched) >= (1, 1)
    run = copied(first, tmp_path)
    late = discover(model, run, **{**options, "budget": None, "minutes": 1e-6})
    assert_same_results(late, first)  # what is kept takes no time
    again = discover(model, run, batch_size=3, **options)
    assert again.spent == N_REFERENCE
    assert_same_results(again, first)


@pytest.mark.slow  # looks that stay within a budget are taken back as well
@pytest.mark.usefixtures("short_pulls")
def test_findings_that_looks_refused_are_listed_again_without_looks(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    discover(model, tmp_path / "run", closing_looks=True, budget=3000)
    assert_same_results(discover(model, tmp_path / "run", budget=3000), uninterrupted)


@pytest.mark.usefixtures("short_pulls")
def test_looks_that_the_budget_does_not_pay_for_are_taken_with_a_larger_one(
    model: Path, uninterrupted: Searched, tmp_path: Path
) -> None:
    first = discover(model, tmp_path / "run", closing_looks=True, budget=300)
    assert first.record.closing == ClosingCounts(3, 3, 0)
    assert len(first.record.findings) == 1  # as the search found it
    assert first.spent <= 300
    more = discover(model, tmp_path / "run", closing_looks=True, budget=3000)
    assert (more.record.n_rounds, more.record.closing) == (uninterrupted.record.n_rounds, ClosingCounts(4, 4, 0))
    assert first.spent + more.spent == sum(more.record.evaluations.values()) + N_REFERENCE


@pytest.mark.usefixtures("short_pulls")
def test_a_finding_that_no_look_was_left_for_is_not_listed_beside_one_that_shows_its_image(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.audit.discover.closing.WEIGHTS", Regression(9.0, {}))
    monkeypatch.setattr("flashbulb.audit.discover.closing.MIN_SHIFT_DISTANCE", 0.0)  # a toy model paints no shapes
    monkeypatch.setattr("flashbulb.audit.stages.results.closing.SAME_IMAGE_DISTANCE", 2.0)  # all are one image
    closed = discover(model, tmp_path / "run", closing_looks=True, budget=245)  # pays for one look of four
    assert closed.record.closing == ClosingCounts(1, 0, 3)
    assert len(closed.record.findings) == 1
    assert set(digests(closed.run / "images")) == {f"{closed.record.findings[0].finding_id}.png"}


def test_a_finding_that_a_look_confirms_shows_what_the_look_saw(
    model: Path, uninterrupted: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pulls: int
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
    assert row["evaluations"] == before["evaluations"] + short_pulls  # the first pull was sure
    with Image.open(closed.run / row["image_path"]) as image:
        assert image.getextrema() != ((20, 20),) * 3


@pytest.mark.usefixtures("short_pulls")
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
    again = discover(model, copied(closed, tmp_path), budget=3000, **options)
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
        again = discover(model, copied(first, tmp_path), shown=shown, **options)
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
