"""The page of an audit with hostile prompts, and its controls."""

from pathlib import Path

import pytest

from tests.reports.pages import page_of, write_illustrated
from tests.reports.runs import HOSTILE, PROMPTS
from tests.services.browser import Browser

HOSTILE_PROMPTS = (
    f"{HOSTILE} <script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>",
    "\"' onmouseover=window.hacked=1 `${window.hacked=1}` {{ 7*7 }} {% raw %} &lt;b&gt;",
    "مرحبا \u202eevil\u202c \u2067שלום\u2069 עולם",
    "x" * 10_000,
)


SHOWN = "return Array.from(document.querySelectorAll('#all tbody tr')).filter(row => !row.hidden)"


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an audit whose first four prompts, all of them flagged, are hostile."""
    run = write_illustrated(
        tmp_path_factory.mktemp("page") / "run", [*HOSTILE_PROMPTS, *PROMPTS[4:]], site="unet.<b>.ff.net.2"
    )
    path = run / "report.html"
    path.write_text(page_of(run), encoding="utf-8")
    return path


def column(browser: Browser, number: int) -> list[str]:
    return list(browser.run(f"{SHOWN}.map(row => row.cells[arguments[0]].textContent)", number))


def enter(browser: Browser, control: str, value: str) -> None:
    browser.run(
        "const control = document.getElementById(arguments[0]); control.value = arguments[1];"
        "control.dispatchEvent(new Event('input', { bubbles: true }))",
        control,
        value,
    )
