"""A training with a finished sweep, a fine-tune with its audit, and short pulls, searches and recoveries."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flashbulb.audit.recover.strategies import cyclic, known_image
from flashbulb.audit.stages import discover, pull
from flashbulb.reports.gate import waivers
from tests.audit.cli.gate.verdicts import TODAY
from tests.audit.cli.trainings import Pair, Training, build_pair, build_training
from tests.audit.commands import run_flashbulb
from tests.audit.conftest import Inputs

PULL_STEPS, PULL_SAMPLE_STEPS = 4, 2
N_NEUTRAL = 16


@pytest.fixture
def on_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read waivers on one day, although a test may begin before midnight and end after it."""
    monkeypatch.setattr(waivers, "today_in_utc", lambda: TODAY)


@pytest.fixture(scope="module")
def short_pulls() -> Iterator[None]:
    """Pull with few steps, which no option sets."""
    plan = pull.pull_plan
    few = {"n_steps": PULL_STEPS, "sample_steps": PULL_SAMPLE_STEPS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pull, "pull_plan", lambda settings: replace(plan(settings), **few))
        yield


@pytest.fixture(scope="module")
def short_searches() -> Iterator[None]:
    """Fit the baseline of a discovery on few neutral prompts, which no option sets."""
    run, few = discover.run_discovery, {"n_reference": N_NEUTRAL}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discover, "run_discovery", lambda settings, **more: run(settings.model_copy(update=few), **more))
        yield


@pytest.fixture(scope="module")
def short_strategies() -> Iterator[None]:
    """Noise and denoise images, and ascend towards known ones, in few steps, which no option sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cyclic, "N_STEPS", 4)
        patch.setattr(known_image, "MAX_STEPS", 5)
        yield


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


@pytest.fixture(scope="session")
def pair(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build_pair(inputs, tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def audited_pair(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished audit of the pair. Read-only."""
    run = tmp_path_factory.mktemp("audited") / "run"
    answer = run_flashbulb("audit", *pair.options(run))
    assert answer.code == 0, answer.err
    return run
