"""The toy model as a saved folder, and the planted models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from flashbulb.audit.model.loading.pipelines import load_model
from tests.audit.model.changes import FOLDERS


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


@pytest.fixture(scope="session")
def planted() -> dict[str, Any]:
    """The planted models by name. Read-only."""
    return {
        name: load_model(str(folder), device="cpu", dtype=torch.float32, allow_pickle=False).pipe
        for name, folder in FOLDERS.items()
    }
