"""A small data set and canaries planted in it, made once. Read-only."""

from functools import cache
from pathlib import Path

import pytest

from flashbulb.audit.canaries import planting as planting_module
from flashbulb.audit.images.distances import RgbImage
from tests.audit.plantings import data_set, planted_in, planting


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def planted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "out"
    with pytest.MonkeyPatch.context() as patch:
        _share_images(patch, data)
        planted_in(folder, data)
    return folder


@pytest.fixture
def painted_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let plantings of one seed share their images, which take most of the time."""
    _share_images(monkeypatch, data)


def _share_images(patch: pytest.MonkeyPatch, data: Path) -> None:
    patch.setattr(planting_module, "_draw_images", lambda planting, n: painted(data, planting.seed, n))


_draw_images = planting_module._draw_images


@cache
def painted(images: Path, seed: int, n: int) -> list[RgbImage]:
    """Paint the images of a planting into which no option enters."""
    return _draw_images(planting(images, seed=seed), n)
