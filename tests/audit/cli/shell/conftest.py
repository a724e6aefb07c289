"""Settings as a command resolves them, and a finished audit beside a settings file."""

from pathlib import Path

import pytest

from tests.reports.runs import LEAKS, write_example

INPUTS = ("--model", "mine", "--prompts", "captions.csv")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A finished audit of a model that leaks, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return write_example(tmp_path / "run", LEAKS)
