"""Fixtures shared by all tests."""

import pytest
from diffusers import StableDiffusionPipeline

from tests.toy import build_toy_pipe


@pytest.fixture(scope="session")
def toy_pipe() -> StableDiffusionPipeline:
    """A toy pipeline that tests share: leave it as it was, or build another with `build_toy_pipe`."""
    return build_toy_pipe()
