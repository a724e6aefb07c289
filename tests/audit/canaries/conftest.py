"""A small data set and canaries planted in it, made once. Read-only."""

from pathlib import Path

import pytest

from tests.audit.plantings import data_set, planted_in


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def planted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "out"
    planted_in(folder, data)
    return folder
