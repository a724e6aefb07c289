"""A pipeline object, and its audit."""

import pytest
from diffusers import StableDiffusionPipeline

from tests.toy import build_toy_pipe


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    """A pipeline that its user trains: networks in training mode, some frozen."""
    pipe = build_toy_pipe()
    pipe.unet.train()
    pipe.text_encoder.requires_grad_(False)
    pipe.scheduler.set_timesteps(7)
    return pipe
