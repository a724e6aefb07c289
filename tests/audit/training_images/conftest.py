"""A folder with one training image, beside which tests put something odd."""

from pathlib import Path

import pytest

from tests.audit.training_images.sets import png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "good.png").write_bytes(png(1))
    return tmp_path / "set"
