"""A saved toy pipeline, prompt files and finished audits, created once for all tests of the commands."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

from flashbulb.audit.pull.pulling import PullPlan
from tests.audit.commands import CANDIDATES, ODD, QUICK, REFERENCE, Answer, run_flashbulb, text_file
from tests.audit.scored import Scored, scored_of
from tests.audit.shared.drawings import drawn_once
from tests.toy import build_toy_pipe

RECORDING_OPTIONS = ("--seeds", "2")
RECOVERY_OPTIONS = ("--samples", "2", "--sample-steps", "2", "--strategy", "sample")
"""The options of `QUICK`, split by stage."""


class Inputs(NamedTuple):
    """The model and the prompt files of an audit."""

    model: Path
    prompts: Path
    reference: Path

    def options(self, out: Path) -> tuple[object, ...]:
        """Return the options of a quick audit into `out`."""
        files = ("--model", self.model, "--prompts", self.prompts, "--reference", self.reference, "--out", out)
        return (*files, *QUICK)


class Finished(NamedTuple):
    """A finished audit that confirmed one image, and the options of its command."""

    run: Path
    options: tuple[object, ...]


@pytest.fixture(scope="module", autouse=True)
def drawn() -> Iterator[None]:
    """Let the functions of stages share figures as the commands do."""
    with drawn_once():
        yield


@pytest.fixture(scope="session")
def inputs(toy_pipe, tmp_path_factory) -> Inputs:
    """A toy pipeline and prompt files. Read-only."""
    folder = tmp_path_factory.mktemp("inputs")
    toy_pipe.save_pretrained(folder / "model")
    return Inputs(
        folder / "model", text_file(folder / "prompts.txt", CANDIDATES), text_file(folder / "reference.txt", REFERENCE)
    )


class Plain(NamedTuple):
    """A quick audit without training images, what its command printed, and its options."""

    run: Path
    answer: Answer
    options: tuple[object, ...]


@pytest.fixture(scope="session")
def plain(inputs, tmp_path_factory) -> Plain:
    """The quick audit of `inputs`. Read-only."""
    run = tmp_path_factory.mktemp("plain") / "run"
    options = inputs.options(run)
    answer = run_flashbulb("audit", *options)
    assert answer.code == 0, answer.err
    return Plain(run, answer, options)


@pytest.fixture(scope="session")
def finished(inputs, plain, tmp_path_factory) -> Finished:
    """An audit whose training image is a sample of the model for the odd prompt. Read-only."""
    folder = tmp_path_factory.mktemp("finished")
    scores = pq.read_table(plain.run / "scores.parquet").to_pylist()
    prompt_id = next(row["prompt_id"] for row in scores if row["prompt"] == ODD)
    (folder / "training").mkdir()
    shutil.copy(plain.run / "images" / prompt_id / "seed-1.png", folder / "training" / "secret.png")
    options = (*inputs.options(folder / "run"), "--train-images", folder / "training")
    answer = run_flashbulb("audit", *options)
    assert answer.code == 0, answer.err
    return Finished(folder / "run", options)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished audit that a test may change."""
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


class Staged(NamedTuple):
    """Copies of a run directory after each stage of an audit, and `finished`, the same audit in one command."""

    recorded: Path
    detected: Path
    complete: Path
    at_once: Path


def recording(inputs: Inputs, out: Path, *more: object) -> tuple[object, ...]:
    """Return the options of `record` for the recording of a quick audit."""
    files = ("--model", inputs.model, "--prompts", inputs.prompts, "--reference", inputs.reference, "--out", out)
    return (*files, *RECORDING_OPTIONS, *more)


@pytest.fixture(scope="session")
def staged(inputs, finished, tmp_path_factory) -> Staged:
    """The quick audit, one stage at a time. Read-only."""
    folder = tmp_path_factory.mktemp("staged")
    run = folder / "run"
    stages: dict[str, tuple[object, ...]] = {
        "recorded": ("record", *recording(inputs, run)),
        "detected": ("detect", run, "--fpr", "0.2"),
        "complete": ("recover", run, *RECOVERY_OPTIONS, "--train-images", finished.run.parent / "training"),
    }
    for name, arguments in stages.items():
        answer = run_flashbulb(*arguments)
        assert answer.code == 0, answer.err
        shutil.copytree(run, folder / name)
    return Staged(*(folder / name for name in stages), finished.run)


@pytest.fixture
def at(staged, tmp_path) -> Callable[[str], Path]:
    """Return a function that copies the directory after a stage, so that a test may change it."""
    return lambda name: Path(shutil.copytree(getattr(staged, name), tmp_path / name))


@pytest.fixture
def plain_descent(monkeypatch) -> None:
    """Let ascents step along the gradient itself.

    Adam divides each coordinate by its own size, so a rounding difference near 0 becomes a step of full length, and
    whether two ways to compute a gradient reach the same would depend on the processor.
    """
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)


@pytest.fixture
def short_pulls(monkeypatch) -> int:
    """Let closing looks pull and sample in three steps in place of 15 and 10; the UE of one pull."""

    def shortened(**given: Any) -> PullPlan:
        return PullPlan(**{**given, "n_steps": 3, "sample_steps": 3})

    monkeypatch.setattr("flashbulb.audit.stages.results.closing.PullPlan", shortened)
    return 3 * 3 + 3 * 3 * 2 + 6 + 8  # steps, guided samples, errors, familiarity


@pytest.fixture(scope="session")
def precise() -> Scored:
    """A toy pipeline in float64, in which results of other batch sizes differ by far less than anything tested."""
    return scored_of(build_toy_pipe().to(torch.float64))


@pytest.fixture(scope="session")
def scored(toy_pipe) -> Scored:
    """The shared toy pipeline, scored."""
    return scored_of(toy_pipe)
