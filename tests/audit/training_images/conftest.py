"""Folders of training images."""

from pathlib import Path

import pytest

from tests.audit.training_images.random_images import random_images, save
from tests.audit.training_images.sets import png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one training image, beside which tests put something odd."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "good.png").write_bytes(png(1))
    return tmp_path / "set"


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixty random images. Read-only."""
    return save(tmp_path_factory.mktemp("train"), random_images(60))
