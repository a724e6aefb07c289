"""`python -m audit.planted` answers a user's mistake with one line and the right exit code."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.planted import __main__ as command
from audit.planted import recipe


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("audit")
    level = logger.level
    yield
    logger.setLevel(level)


def test_help_does_not_load_the_model_libraries() -> None:
    code = "import sys, audit.planted.__main__; assert not {'torch', 'diffusers', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_a_finished_folder_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").touch()
    with pytest.raises(SystemExit) as stop:
        command.main(["--out", str(tmp_path), "--device", "cpu"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_folder_that_cannot_be_made_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        command.main(["--out", str(tmp_path / "file" / "out"), "--device", "cpu"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_says_how_to_go_on_and_exits_130(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "train_planted", interrupted)
    with pytest.raises(SystemExit) as stop:
        command.main(["--out", str(tmp_path)])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped; run again to go on\n"
