"""A saved toy pipeline, prompt files and one finished audit, made once for all tests of the commands."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from tests.audit.commands import CANDIDATES, ODD, QUICK, REFERENCE, engram, text_file

OF_RECORDING = ("--seeds", "2")
OF_RECOVERY = ("--samples", "2", "--sample-steps", "2", "--strategy", "sample")
"""What `QUICK` of an audit is for these stages."""


class Inputs(NamedTuple):
    """What an audit is given."""

    model: Path
    prompts: Path
    reference: Path

    def options(self, out: Path) -> tuple[object, ...]:
        """Options of a quick audit into `out`."""
        given = ("--model", self.model, "--prompts", self.prompts, "--reference", self.reference, "--out", out)
        return (*given, *QUICK)


class Finished(NamedTuple):
    """A finished audit that confirmed one picture, and the command's options."""

    run: Path
    options: tuple[object, ...]


@pytest.fixture(scope="session")
def inputs(toy_pipe, tmp_path_factory) -> Inputs:
    """A toy pipeline and prompt files; leave them as they were."""
    folder = tmp_path_factory.mktemp("inputs")
    toy_pipe.save_pretrained(folder / "model")
    return Inputs(
        folder / "model", text_file(folder / "prompts.txt", CANDIDATES), text_file(folder / "reference.txt", REFERENCE)
    )


@pytest.fixture(scope="session")
def finished(inputs, tmp_path_factory) -> Finished:
    """An audit whose training picture is one that the model gives for the odd prompt; leave it as it was."""
    folder = tmp_path_factory.mktemp("finished")
    assert engram("audit", *inputs.options(folder / "before")).code == 0
    scores = pq.read_table(folder / "before" / "scores.parquet").to_pylist()
    prompt_id = next(row["prompt_id"] for row in scores if row["prompt"] == ODD)
    (folder / "training").mkdir()
    shutil.copy(folder / "before" / "images" / prompt_id / "seed-1.png", folder / "training" / "secret.png")
    options = (*inputs.options(folder / "run"), "--train-images", folder / "training")
    answer = engram("audit", *options)
    assert answer.code == 0, answer.err
    return Finished(folder / "run", options)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished audit, to spoil."""
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


class Staged(NamedTuple):
    """One directory after each stage of the audit that `finished` made at once, and that audit."""

    recorded: Path
    detected: Path
    complete: Path
    at_once: Path


def recording(inputs: Inputs, out: Path, *more: object) -> tuple[object, ...]:
    """Options of `record` for the recording of a quick audit."""
    given = ("--model", inputs.model, "--prompts", inputs.prompts, "--reference", inputs.reference, "--out", out)
    return (*given, *OF_RECORDING, *more)


@pytest.fixture(scope="session")
def staged(inputs, finished, tmp_path_factory) -> Staged:
    """Leave them as they were."""
    folder = tmp_path_factory.mktemp("staged")
    run = folder / "run"
    stages: dict[str, tuple[object, ...]] = {
        "recorded": ("record", *recording(inputs, run)),
        "detected": ("detect", run, "--fpr", "0.2"),
        "complete": ("recover", run, *OF_RECOVERY, "--train-images", finished.run.parent / "training"),
    }
    for name, arguments in stages.items():
        answer = engram(*arguments)
        assert answer.code == 0, answer.err
        shutil.copytree(run, folder / name)
    return Staged(*(folder / name for name in stages), finished.run)


@pytest.fixture
def at(staged, tmp_path) -> Callable[[str], Path]:
    """Copy the directory of a stage, to work on."""
    return lambda name: Path(shutil.copytree(getattr(staged, name), tmp_path / name))
