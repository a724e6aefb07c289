"""A finished calibration, and a copy of it that a test may change."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.audit.commands import QUICK, run_flashbulb

N_SEEDS = 2
FAST = (*QUICK, "--max-sampled", "0")


class Calibrated(NamedTuple):
    """A finished calibration, and an audit with --reference of the same file."""

    folder: Path
    run: Path


@pytest.fixture(scope="session")
def calibrated(inputs, tmp_path_factory) -> Calibrated:
    """A calibration and an audit with its reference. Read-only."""
    paths = Calibrated(*(tmp_path_factory.mktemp("calibrated") / name for name in ("calibration", "run")))
    options = ("--model", inputs.model, "--reference", inputs.reference, "--seeds", N_SEEDS)
    answer = run_flashbulb("calibrate", *options, "--out", paths.folder)
    assert answer.code == 0, answer.err
    assert answer.out == f"calibration in {paths.folder}\n"
    assert run_flashbulb("audit", *inputs.options(paths.run), "--max-sampled", "0").code == 0
    return paths


@pytest.fixture
def damaged(calibrated, tmp_path) -> Path:
    """A copy of the calibration that a test may damage."""
    return Path(shutil.copytree(calibrated.folder, tmp_path / "calibration"))


def audit_options(inputs, calibration: Path, out: Path, *more: object) -> tuple[object, ...]:
    return ("--model", inputs.model, "--prompts", inputs.prompts, "--calibration", calibration, "--out", out, *more)
