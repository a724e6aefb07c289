"""The checkpoints of a training, and a finished sweep over them."""

from pathlib import Path

import pytest

from tests.audit.commands import run_flashbulb
from tests.audit.conftest import Inputs
from tests.audit.trainings import Training, build_training


@pytest.fixture(scope="module")
def training(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return build_training(inputs, tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def swept(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep. Read-only."""
    out = tmp_path_factory.mktemp("swept") / "sweep"
    answer = run_flashbulb(*training.sweep(out))
    assert answer.code == 0, answer.err
    return out
