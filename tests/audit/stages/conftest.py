"""A toy pipeline that discoveries search, and a finished discovery."""

from pathlib import Path

import pytest

from tests.audit.discoveries import Searched, discover
from tests.audit.searches import build_worded_pipe


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved toy pipeline whose tokenizer knows words."""
    folder = tmp_path_factory.mktemp("searched") / "model"
    build_worded_pipe().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search that ran without interruption; tests must not change it."""
    return discover(model, tmp_path_factory.mktemp("uninterrupted") / "run")
