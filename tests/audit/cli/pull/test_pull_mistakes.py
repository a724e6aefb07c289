"""A pull that cannot be calibrated, paid or repeated says so in one line, and leaves what is there."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from flashbulb.reports.pull.record import load_pull
from tests.audit.cli.pull.conftest import N_CONTROLS, N_IMAGES, RANK, Given, Pulled, table_of
from tests.audit.commands import digests, error_line, run_flashbulb

pytestmark = pytest.mark.usefixtures("short_pulls")


def test_without_controls_a_warning_says_that_nothing_is_calibrated(given: Given, tmp_path: Path) -> None:
    budget = ("--budget", N_IMAGES * RANK)
    answer = run_flashbulb("pull", given.model, given.images, "--no-examine", *budget, "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "no controls: the threshold was chosen on planted models" in " ".join(answer.out.split())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--budget", "0"), "--budget: "),
        (("--budget", "55"), "--budget 55 does not pay for the ranks of all images, which take 56"),
        (("--max-false", "1"), "--max-false: "),
        (("--device", "abacus"), "abacus"),
        (("--controls", "/nowhere/images"), "no /nowhere/images; give --controls a folder"),
    ],
)
def test_mistake_is_one_line(given: Given, tmp_path: Path, options: tuple[str, ...], line: str) -> None:
    assert line in error_line(given.pull(tmp_path / "run", *options))


def test_controls_that_are_the_images_are_refused(given: Given, tmp_path: Path) -> None:
    answer = run_flashbulb("pull", given.model, given.images, "--controls", given.images, "--out", tmp_path / "run")
    assert "are the images themselves" in error_line(answer)


def test_copies_of_a_control_count_as_one(given: Given, pulled: Pulled, tmp_path: Path) -> None:
    """With 49 of them a threshold would be called calibrated that one image set."""
    controls = Path(shutil.copytree(given.controls, tmp_path / "controls"))
    for number in range(49):
        shutil.copy(given.controls / "10.png", controls / f"copy-{number}.png")
    answer = given._replace(controls=controls).pull(tmp_path / "run")
    assert answer.code == 0, answer.err
    assert load_pull(tmp_path / "run").warnings == load_pull(pulled.run).warnings
    names = ["image_id", "is_control", "verdict", "score", "p_value"]
    pd.testing.assert_frame_equal(table_of(tmp_path / "run")[names], table_of(pulled.run)[names])


def test_controls_among_the_images_are_refused(given: Given, tmp_path: Path) -> None:
    """A memorized one would raise the threshold above itself, and nothing would be out."""
    controls = Path(shutil.copytree(given.controls, tmp_path / "controls"))
    shutil.copy(given.images / "0.png", controls / "taken.png")
    line = error_line(given._replace(controls=controls).pull(tmp_path / "run"))
    assert f"1 of {N_CONTROLS + 1} controls are among the images, the first taken.png; take them out" in line


def test_a_model_without_images_is_refused(given: Given, tmp_path: Path) -> None:
    assert "SOURCE is missing" in error_line(run_flashbulb("pull", given.model, "--out", tmp_path / "run"))
    before = digests(given.images)
    answer = run_flashbulb("pull", given.model, given.images, "--out", given.images)
    assert "choose another --out" in error_line(answer)
    assert digests(given.images) == before


def test_only_a_finished_pull_can_be_replayed_as_one(pulled: Pulled, tmp_path: Path) -> None:
    for command, run in (("pull", tmp_path / "none"), ("discover", pulled.run), ("audit", pulled.run)):
        answer = run_flashbulb(command, "--replay", run, "--out", tmp_path / "again")
        assert (answer.code, "--replay" in error_line(answer)) == (2, True)
        assert not (tmp_path / "again").exists()
