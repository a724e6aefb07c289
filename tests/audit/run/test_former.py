"""Results that a command replaces come back bit for bit if it is refused, and only then."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flashbulb.audit.run.directory import RunDirectory, RunDirectoryError
from flashbulb.audit.run.former import FormerResults
from flashbulb.reports.tables.files import FORMER_FOLDER
from tests.audit.commands import digests

IDENTITY = {"recovery": {"x": 1}}


class RefusedError(ValueError):
    """A refusal."""


def former(hold: Callable[[], bool] = lambda: True) -> FormerResults:
    return FormerResults(("run.json", "report.html", "table.parquet", "images/**/*"), (RefusedError,), hold)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a table, an image, a verdict, and a file of the user's."""
    with RunDirectory.open(tmp_path / "run", IDENTITY, force=False) as opened:
        (opened.path / "images" / "a").mkdir(parents=True)
        for name in ("report.html", "table.parquet", "images/a/seed-0.png", "notes.txt"):
            (opened.path / name).write_text(name)
        opened.update(status="complete", n=1)
    return tmp_path / "run"


def replace(run: RunDirectory) -> None:
    """Write what a command writes: other files at the same names, new ones, and some no longer."""
    shutil.rmtree(run.path / "images")
    (run.path / "images" / "b").mkdir(parents=True)
    (run.path / "images" / "b" / "seed-0.png").write_text("new")
    (run.path / "table.parquet").unlink()
    (run.path / "notes.txt").write_text("changed")
    run.update(status="failed")


def fail(run: Path, error: type[BaseException]) -> None:
    """Begin a command, replace results, and fail."""
    with RunDirectory.open(run, IDENTITY, force=False, former=former()) as opened:
        assert not (run / "report.html").exists()  # nobody takes it for a result of the command that runs
        replace(opened)
        raise error


def refuse(path: Path, *, force: bool, made: bool) -> None:
    with RunDirectory.open(path, IDENTITY, force=force, former=former()) as opened:
        if made:
            (opened.path / "shard").touch()
        raise RefusedError


@pytest.mark.parametrize("force", [False, True])
def test_a_new_directory_is_free_again_if_its_command_is_refused(tmp_path: Path, force: bool) -> None:
    for made in (False, True):
        with pytest.raises(RefusedError):
            refuse(tmp_path / "run", force=force, made=made)
        assert (tmp_path / "run" / "run.json").exists() == made  # what was made belongs to the command that made it
    with pytest.raises(RunDirectoryError, match="holds another audit"):
        RunDirectory.examine(tmp_path / "run", {"recovery": {"x": 2}}, force=False)


def test_a_refused_command_leaves_what_was_finished(run: Path) -> None:
    before = digests(run)
    with pytest.raises(RefusedError):
        fail(run, RefusedError)
    (run / "notes.txt").write_text("notes.txt")  # no result: it stays as it is
    assert digests(run) == before
    assert not (run / FORMER_FOLDER).exists()


def test_a_stage_that_reopens_a_run_leaves_it_as_well(run: Path) -> None:
    def refuse() -> None:
        with RunDirectory.reopen(run) as opened, opened.keeping(former()):
            opened.begin(IDENTITY, status="running")
            raise RefusedError

    before = digests(run)
    with pytest.raises(RefusedError):
        refuse()
    assert digests(run) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_any_other_end_leaves_what_the_command_wrote(run: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(run, error)
    assert {path.name for path in run.iterdir()} == {"run.json", "images", "notes.txt"}
    assert [path.name for path in run.glob("images/*")] == ["b"]


def test_so_does_success_and_a_refusal_after_which_the_former_results_no_longer_hold(run: Path) -> None:
    with RunDirectory.open(run, IDENTITY, force=False, former=former()) as opened:
        opened.update(status="complete", n=2)
    assert not (run / "report.html").exists()
    (run / "report.html").write_text("second")
    with pytest.raises(RefusedError), RunDirectory.open(run, IDENTITY, force=False, former=former(lambda: False)):
        raise RefusedError
    assert not (run / "report.html").exists()


def test_a_run_that_was_not_finished_or_is_forced_does_not_come_back(run: Path) -> None:
    with RunDirectory.open(run, IDENTITY, force=True):
        (run / "report.html").write_text("of nothing")
    with pytest.raises(RefusedError), RunDirectory.open(run, IDENTITY, force=False, former=former()):
        raise RefusedError
    assert {path.name for path in run.iterdir()} == {"run.json"}
    with pytest.raises(RefusedError), RunDirectory.open(run, IDENTITY, force=True, former=former()):
        raise RefusedError
    assert not list(run.iterdir())


def test_what_a_killed_process_left_is_not_taken_for_results(run: Path) -> None:
    (run / FORMER_FOLDER).mkdir()
    (run / FORMER_FOLDER / "0").write_text("of a process that was killed")
    before = {name: digest for name, digest in digests(run).items() if not name.startswith(FORMER_FOLDER)}
    with pytest.raises(RefusedError):
        fail(run, RefusedError)
    (run / "notes.txt").write_text("notes.txt")
    assert digests(run) == before


def test_results_come_back_where_links_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links")

    before = digests(run)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(RefusedError), RunDirectory.open(run, IDENTITY, force=False, former=former()):
        raise RefusedError
    assert digests(run) == before
