"""Evidence sheets and histograms are whole PNG files, whatever the prompts say."""

import warnings
from pathlib import Path

import pytest
from PIL import Image

from reports.panels import PanelRow, evidence_panel, score_histogram


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, ...]:
    """A picture for training and four samples, of different shapes and modes."""
    paths = []
    for index, mode in enumerate(("RGB", "RGB", "L", "RGBA", "P")):
        path = tmp_path / f"picture-{index}.png"
        Image.effect_mandelbrot((64, 48 + 8 * index), (-3, -2.5, 2, 2.5), 20).convert(mode).save(path)
        paths.append(path)
    return tuple(paths)


def rows(pictures: tuple[Path, ...], n: int, prompt: str = "a red fox", training: bool = True) -> list[PanelRow]:
    first, *samples = pictures
    return [PanelRow(prompt, "confirmed", 12.3, 0.002, first if training else None, tuple(samples))] * n


@pytest.mark.parametrize(("n", "drawn"), [(1, 1), (3, 3), (12, 12), (40, 12)])
def test_a_sheet_grows_with_its_findings_up_to_twelve(
    pictures: tuple[Path, ...], tmp_path: Path, n: int, drawn: int
) -> None:
    path = tmp_path / "evidence.png"
    evidence_panel(rows(pictures, n), path)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == pytest.approx((2.6 + 5 * 1.5) * 150, abs=2)
        assert sheet.height == pytest.approx((0.65 + drawn * 1.5) * 150, abs=2)
    assert not list(tmp_path.glob("*.part"))


def test_a_sheet_without_training_images_has_no_column_for_them(pictures: tuple[Path, ...], tmp_path: Path) -> None:
    evidence_panel(rows(pictures, 2, training=False), tmp_path / "narrow.png")
    evidence_panel(rows(pictures, 1) + rows(pictures, 1, training=False), tmp_path / "wide.png")
    with Image.open(tmp_path / "narrow.png") as narrow, Image.open(tmp_path / "wide.png") as wide:
        assert wide.width - narrow.width == pytest.approx(1.5 * 150, abs=2)


@pytest.mark.parametrize("prompt", ["$\\frac{1$ and $x^2$", "狐狸 in the snow", "\x00\x1b[31m\u202e", "x" * 5000, ""])
def test_no_prompt_breaks_a_sheet(pictures: tuple[Path, ...], tmp_path: Path, prompt: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence_panel(rows(pictures, 1, prompt), tmp_path / "evidence.png")


def test_a_sheet_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finding"):
        evidence_panel([], tmp_path / "evidence.png")


@pytest.mark.parametrize(
    ("reference", "candidates"),
    [([0.1, 0.2], [0.3, 9.0]), ([], []), ([1.0], []), ([float("nan"), 1.0], [float("inf")])],
)
def test_a_histogram_is_drawn_for_any_scores(reference: list[float], candidates: list[float], tmp_path: Path) -> None:
    score_histogram(reference, candidates, 1.0, tmp_path / "scores.png")
    with Image.open(tmp_path / "scores.png") as figure:
        assert figure.size == (1050, 480)
