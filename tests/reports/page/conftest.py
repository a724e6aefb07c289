"""An audit with everything that a page can show, and its page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.shared.drawings import drawn_once
from tests.reports.pages import page_of, write_illustrated


@pytest.fixture(scope="module", autouse=True)
def drawn() -> Iterator[None]:
    """Let pages share figures."""
    with drawn_once():
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit with everything that a page can show; tests must not change it."""
    return write_illustrated(tmp_path_factory.mktemp("illustrated") / "run")


@pytest.fixture(scope="session")
def page(run: Path) -> str:
    """Its page, with prompts and images."""
    return page_of(run)
