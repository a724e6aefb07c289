"""Fixtures shared by all tests, and how tests are collected."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.services.browser import Browser, chromium

# toy models have random weights, which an examination tells at once; tests of it set the variable back
os.environ["FLASHBULB_EXAMINE"] = "false"

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Leave files in the memory of the system: what tests write need not outlast a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def toy_pipe() -> StableDiffusionPipeline:
    """A toy pipeline that tests share. Leave it unchanged, or build your own with `build_toy_pipe`."""
    from tests.toy import build_toy_pipe  # the process that distributes the tests does without torch

    return build_toy_pipe()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser that the tests of a module share."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def spared() -> None:
    """Spare the garbage collector what earlier modules imported or made for the session."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the imported libraries: looking through them takes a tenth of the tests' time."""
    import hypothesis  # before anything is frozen, because it looks for the random generators of other libraries

    # how long an example takes depends on the processor and on who shares it
    hypothesis.settings.register_profile("no deadline", hypothesis.settings(), deadline=None)
    hypothesis.settings.load_profile("no deadline")
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
