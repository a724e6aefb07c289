"""The figures of an evaluation are complete PNG files that are not blank, whatever the scores."""

import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.reports.figures import evaluation
from flashbulb.reports.figures.evaluation import RocCurve, ScorePanel, roc_figure, score_distributions
from tests.cases import slow_unless_in


def curve(name: str, skill: float = 0.3, n: int = 200) -> RocCurve:
    fpr = [step / n for step in range(n + 1)]
    return RocCurve(name, fpr, [x**skill for x in fpr])


def panel(name: str, n_positive: int = 30, n_negative: int = 500, threshold: float | None = 2.3) -> ScorePanel:
    rng = np.random.default_rng(0)
    return ScorePanel(name, rng.normal(2, 1, n_positive).tolist(), rng.normal(0, 1, n_negative).tolist(), threshold)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"), dtype=np.float64)


@pytest.mark.parametrize("n", [1, 6, 7, 20])
def test_any_number_of_curves_is_drawn(n: int, tmp_path: Path) -> None:
    roc_figure([curve(f"detector_{index}", 0.1 + index / 20) for index in range(n)], tmp_path / "roc.png")
    assert pixels(tmp_path / "roc.png").std() > 10
    assert [path.name for path in tmp_path.iterdir()] == ["roc.png"]


@pytest.fixture(scope="module")
def panels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], np.ndarray]:
    """Draw any number of panels, each number once."""
    path = tmp_path_factory.mktemp("panels") / "scores.png"

    @cache
    def draw(n: int) -> np.ndarray:
        score_distributions([panel(f"detector_{index}") for index in range(n)], path)
        return pixels(path)

    return draw


@pytest.mark.parametrize("n", slow_unless_in([1, 4, 5], [1, 3, 4, 5, 24]))
def test_panels_fill_rows_of_four(n: int, panels: Callable[[int], np.ndarray]) -> None:
    assert panels(n).std() > 10
    assert panels(n).shape[0] == pytest.approx((2.0 * np.ceil(n / 4) + 0.6) * 150, abs=2)


def test_no_more_than_24_panels_are_drawn(panels: Callable[[int], np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or, so that it takes less time, no more than four."""
    assert evaluation.MAX_PANELS == 24
    monkeypatch.setattr(evaluation, "MAX_PANELS", 4)
    assert np.array_equal(panels(4), panels(6))


def test_different_curves_give_different_images(tmp_path: Path) -> None:
    drawn = []
    for index, skill in enumerate((0.05, 0.3, 1.0)):
        roc_figure([curve("detector", skill)], tmp_path / f"{index}.png")
        drawn.append(pixels(tmp_path / f"{index}.png"))
    assert all(not np.array_equal(first, second) for first, second in pairwise(drawn))


def test_perfect_useless_and_equal_curves_are_drawn(tmp_path: Path) -> None:
    perfect = RocCurve("perfect", [0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    constant = RocCurve("constant", [0.0, 1.0], [0.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roc_figure([perfect, perfect, constant], tmp_path / "roc.png")
    assert pixels(tmp_path / "roc.png").std() > 10


@pytest.mark.parametrize(
    ("positives", "negatives", "threshold"),
    [
        ([], [], None),
        ([1.0], [], 1.0),
        ([2.0], [2.0], 2.0),
        ([float("inf"), 1.0], [float("nan"), float("-inf")], float("-inf")),
        ([1e300], [-1e300], 0.0),
        ([5e-324], [0.0], 0.0),
    ],
)
def test_any_scores_are_drawn(
    positives: list[float], negatives: list[float], threshold: float | None, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_distributions([ScorePanel("detector", positives, negatives, threshold)], tmp_path / "scores.png")
    assert pixels(tmp_path / "scores.png").std() > 1


@pytest.mark.parametrize("name", ["$\\frac{1$ and $x^2$", "_hidden", "x" * 5000, "\x00\u202e", ""])
def test_any_name_is_drawn(name: str, tmp_path: Path) -> None:
    roc_figure([curve(name)], tmp_path / "roc.png")
    score_distributions([panel(name)], tmp_path / "scores.png")
    assert pixels(tmp_path / "roc.png").shape[1] == pytest.approx(8.2 * 150, abs=2)


def test_a_figure_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no curve"):
        roc_figure([], tmp_path / "roc.png")
    with pytest.raises(ValueError, match="no scores"):
        score_distributions([], tmp_path / "scores.png")
    assert not list(tmp_path.iterdir())
