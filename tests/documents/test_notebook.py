"""The notebook of the documentation runs, and shows what it says it shows."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
MISSING = [name for name in ("nbformat", "nbclient", "ipykernel") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed; pip install -e '.[dev]'")


def read() -> Any:
    import nbformat

    return nbformat.read(NOTEBOOK, as_version=4)


def shown(notebook: Any) -> list[list[str]]:
    """What each code cell shows, as its kinds of output."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    heard = [
        [output for output in cell.outputs if output.get("name") != "stderr"] for cell in cells
    ]  # libraries' advice
    return [sorted({kind for output in outputs for kind in output.get("data", {"stream": 0})}) for outputs in heard]


def test_the_notebook_is_valid_and_was_executed_in_order_without_errors() -> None:
    import nbformat

    notebook = read()
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not re.search(r"/(home|root|tmp|work|Users)/", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_same(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook, before = read(), read()
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert shown(notebook) == shown(before)
    assert (tmp_path / "for-outside.html").is_file()
    (result,) = [output for output in notebook.cells[3].outputs if "text/html" in output.get("data", {})]
    assert "fail" in result["data"]["text/html"]
