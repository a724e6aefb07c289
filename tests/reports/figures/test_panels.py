"""Evidence sheets and histograms are complete PNG files, whatever the prompts."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flashbulb.reports.figures.panels import PanelRow, evidence_panel, score_histogram


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, ...]:
    """A training image, three samples and a recovered image, of different shapes and modes."""
    paths = []
    for index, mode in enumerate(("RGB", "RGB", "L", "RGBA", "P")):
        path = tmp_path / f"image-{index}.png"
        Image.effect_mandelbrot((64, 48 + 8 * index), (-3, -2.5, 2, 2.5), 20).convert(mode).save(path)
        paths.append(path)
    return tuple(paths)


ROW = PanelRow(
    prompt="a red fox",
    verdict="confirmed",
    strategy="ascend",
    spike_score=12.3,
    q_value=0.002,
    confidence=0.97,
    evaluations=12_345,
    training_image=None,
    samples=(),
    recovered=None,
    mask=None,
)


def full(images: tuple[Path, ...], **changes: Any) -> PanelRow:
    """A row with a training image, three samples and a recovered image, with changes."""
    training, *samples, best = images
    return replace(ROW, **({"training_image": training, "samples": tuple(samples), "recovered": best} | changes))


def drawn(rows: list[PanelRow], path: Path) -> Image.Image:
    evidence_panel(rows, path)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        return sheet.convert("RGB")


def n_columns(sheet: Image.Image) -> float:
    return (sheet.width / 150 - 2.6) / 1.5


@pytest.mark.parametrize(("n", "n_drawn"), [(1, 1), (3, 3), (40, 12)])
def test_a_sheet_has_a_row_per_finding_up_to_twelve(
    images: tuple[Path, ...], tmp_path: Path, n: int, n_drawn: int
) -> None:
    sheet = drawn([full(images)] * n, tmp_path / "evidence.png")
    assert n_columns(sheet) == pytest.approx(5, abs=0.01)
    assert sheet.height == pytest.approx((0.65 + n_drawn * 1.5) * 150, abs=2)
    assert not list(tmp_path.glob("*.part"))


def test_a_column_exists_only_if_a_row_needs_it(images: tuple[Path, ...], tmp_path: Path) -> None:
    path, image = tmp_path / "evidence.png", images[0]
    found = replace(ROW, prompt=None, spike_score=None, q_value=None, recovered=image)
    for rows, n in (
        ([found], 1),
        ([replace(found, training_image=image)], 2),
        ([replace(found, mask=image)], 2),
        ([replace(found, recovered=None, mask=image)], 1),
        ([replace(found, samples=(image,))], 2),
        ([replace(found, samples=(image,) * 9)], 4),
        ([found, full(images)], 5),
        ([found, full(images), full(images, mask=image)], 6),
    ):
        assert n_columns(drawn(rows, path)) == pytest.approx(n, abs=0.01)


def cell(sheet: Image.Image, column: int) -> np.ndarray:
    """Pixels of a cell of the first row, without its frame."""
    left, top = (2.6 + column * 1.5) * 150, 0.55 * 150
    inside = (int(left) + 12, int(top) + 20, int(left + 1.4 * 150) - 4, int(top + 1.5 * 150) - 12)
    return np.asarray(sheet.crop(inside), dtype=np.float64)


def test_the_fixed_part_keeps_its_colours_and_the_rest_fades(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (200, 30, 60)).save(tmp_path / "recovered.png")
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    mask.save(tmp_path / "mask.png")
    row = replace(ROW, recovered=tmp_path / "recovered.png", mask=tmp_path / "mask.png")
    fixed = cell(drawn([row], tmp_path / "evidence.png"), 1)
    assert np.abs(fixed[60, 20] - (200, 30, 60)).max() < 3
    assert fixed[60, -20].min() > 200
    assert np.ptp(fixed[60, -20]) < 3


def test_a_missing_image_is_an_empty_cell_with_a_dash(images: tuple[Path, ...], tmp_path: Path) -> None:
    found = replace(ROW, prompt=None, recovered=images[0])
    sheet = drawn([found, full(images)], tmp_path / "evidence.png")
    for column in range(4):
        empty = cell(sheet, column)
        assert 0 < (empty.min(axis=2) < 250).mean() < 0.01
    assert (cell(sheet, 4).min(axis=2) < 250).mean() > 0.5


@pytest.mark.parametrize("changes", [{"confidence": None}, {"q_value": None}, {"spike_score": None}, {"prompt": None}])
def test_numbers_may_be_missing(images: tuple[Path, ...], tmp_path: Path, changes: dict[str, None]) -> None:
    complete, partial = (drawn([full(images, **c)], tmp_path / "evidence.png") for c in ({}, changes))
    assert complete.size == partial.size
    assert complete.tobytes() != partial.tobytes()


@pytest.mark.parametrize("prompt", ["$\\frac{1$ and $x^2$", "狐狸 in the snow", "\x00\x1b[31m\u202e", "x" * 5000, ""])
def test_any_prompt_is_drawn(images: tuple[Path, ...], tmp_path: Path, prompt: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence_panel([full(images, prompt=prompt)], tmp_path / "evidence.png")


def test_a_sheet_without_findings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finding"):
        evidence_panel([], tmp_path / "evidence.png")


@pytest.mark.parametrize(
    ("reference", "candidates"),
    [([0.1, 0.2], [0.3, 9.0]), ([], []), ([1.0], []), ([float("nan"), 1.0], [float("inf")])],
)
def test_a_histogram_is_drawn_for_any_scores(reference: list[float], candidates: list[float], tmp_path: Path) -> None:
    for thresholds in ([1.0], [0.3, 1.6]):
        score_histogram(reference, candidates, thresholds, tmp_path / "scores.png")
        with Image.open(tmp_path / "scores.png") as figure:
            assert figure.size == (1050, 480)


def test_a_histogram_has_a_line_for_the_threshold_of_each_style(tmp_path: Path) -> None:
    """With the highest alone, flagged prompts of other styles stood below it."""

    def n_lines(thresholds: list[float]) -> int:
        score_histogram([0.0, 2.0], [0.0, 2.0], thresholds, tmp_path / "scores.png")
        with Image.open(tmp_path / "scores.png") as figure:
            dark = np.asarray(figure.convert("L"))[200:380, 200:1000] < 120
        columns = np.flatnonzero(dark.sum(axis=0) > 60)
        return int((np.diff(columns, prepend=-9) > 3).sum())

    assert [n_lines(thresholds) for thresholds in ([], [1.0], [0.8, 1.0, 1.4])] == [0, 1, 3]
