"""Discovery curves are complete PNG files that are not blank, whatever was found."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashbulb.reports.figures.curves import discovery_curves
from tests.cases import each_with_one, slow_unless_in

FAST = [(500 * n, n) for n in range(1, 18)] + [(20_000, 17)]
SLOW = [(3_000 * n, n) for n in range(1, 7)] + [(20_000, 6)]


def drawn(curves: dict[str, list[tuple[int, int]]], total: int | None, path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        discovery_curves(curves, total, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (1110, 570)
        return np.asarray(image.convert("RGB"), dtype=np.float64)


@pytest.mark.parametrize("n", slow_unless_in([1, 7], [1, 2, 6, 7, 20]))
def test_any_number_of_methods_is_drawn(n: int, tmp_path: Path) -> None:
    assert drawn({f"method {index}": FAST for index in range(n)}, 20, tmp_path / "curves.png").std() > 10
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    ("points", "total"),
    each_with_one([[], [(0, 0)], [(900, 0)], [(0, 3)], [(10, 1), (10, 2)], [(10**12, 10**6)]], [None, 0, 20]),
)
def test_any_curve_is_drawn(points: list[tuple[int, int]], total: int | None, tmp_path: Path) -> None:
    assert drawn({"method": points}, total, tmp_path / "curves.png").std() > 5


def test_every_method_and_the_total_are_visible(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    images = [drawn({"a": FAST}, None, path), drawn({"a": FAST}, 20, path), drawn({"a": FAST, "b": SLOW}, 20, path)]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


@pytest.mark.parametrize("points", [[(10, 1), (9, 2)], [(10, 2), (20, 1)], [(-1, 0)], [(5, -1)]])
def test_a_curve_that_decreases_is_refused(points: list[tuple[int, int]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the curve of method decreases"):
        discovery_curves({"method": points}, None, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_a_figure_without_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no curve"):
        discovery_curves({}, None, tmp_path / "curves.png")


@pytest.mark.parametrize("name", ["$\\frac{1$ and $x^2$", "_hidden", "x" * 5000, "\x00\u202e", "狐狸", ""])
def test_any_name_is_drawn(name: str, tmp_path: Path) -> None:
    drawn({name: FAST, "other": SLOW}, 20, tmp_path / "curves.png")
