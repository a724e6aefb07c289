"""The model that files are added to."""

from pathlib import Path

import pytest
import torch

from tests.audit.files.loras import TRAINED, lora_weights, some_factors
from tests.toy import build_toy_pipe


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy pipeline. Read-only."""
    folder = tmp_path_factory.mktemp("base") / "toy"
    build_toy_pipe().save_pretrained(folder)
    return folder


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """A LoRA of that pipeline, by the names of diffusers."""
    return lora_weights(some_factors(build_toy_pipe(), TRAINED))
