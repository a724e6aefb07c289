"""In a notebook, progress is one line that is updated, whatever the number of steps."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from flashbulb.audit.run.progress import in_notebook, track


class Cell:
    """What a notebook displays: one line, and how often it was replaced."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, bundle: dict[str, str], **_options: Any) -> "Cell":
        self.update(bundle)
        return self

    def update(self, bundle: dict[str, str], **_options: Any) -> None:
        self.lines.append(bundle["text/plain"])


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A kernel, as IPython shows it."""
    cell = Cell()
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=cell.display))
    return cell


def test_the_line_is_updated_and_ends_complete(cell: Cell) -> None:
    with track("record", 1000, "prompts", done=100) as advance:
        for _ in range(900):
            advance()
    assert "100/1000" in cell.lines[0]
    assert "1000/1000 prompts" in cell.lines[-1]
    assert len(cell.lines) < 10


def test_no_units_are_no_error(cell: Cell) -> None:
    with track("recover", 0, "prompts"):
        pass
    assert "0/0" in cell.lines[-1]


def test_without_a_kernel_it_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_stage_that_goes_on_later_leaves_no_line(cell: Cell) -> None:
    with track("searching", None, "UE", done=400, vanishes=True):
        pass
    assert cell.lines == [f"{'searching':<24} 400 UE", ""]
