"""The toy model as a saved folder."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def saved(toy_pipe, tmp_path_factory) -> Path:
    """The saved pipeline, which no test changes."""
    folder = tmp_path_factory.mktemp("saved") / "toy"
    toy_pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of the saved pipeline, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "toy"))
