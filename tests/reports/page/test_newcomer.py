"""Where the eye of a newcomer lands: what the first screens answer, and what one click more does."""

from pathlib import Path

import pytest

from tests.reports.pages import page_of
from tests.reports.runs import write_example
from tests.services.browser import Browser, needs_chromium

pytestmark = needs_chromium

BOTTOM = "return arguments[0].getBoundingClientRect().bottom + scrollY"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an audit that leaks 30 images."""
    prompts = [f"portrait {n}, oil on canvas" for n in range(60)]
    options = {"n_samples": "--samples"}
    run = write_example(
        tmp_path_factory.mktemp("page") / "run", dict.fromkeys(range(30), "high"), prompts=prompts, options=options
    )
    path = run / "report.html"
    path.write_text(page_of(run), encoding="utf-8")
    return path


def bottom_of(browser: Browser, selector: str, text: str = "") -> float:
    """How far down the page the first element of a selector that holds the text ends, in pixels."""
    found = browser.driver.find_elements("css selector", selector)
    element = next(element for element in found if text in element.get_attribute("textContent"))
    return float(browser.run(BOTTOM, element))


def test_the_first_screen_of_a_desktop_says_what_leaked_and_what_to_do(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 800)
    for selector, text in (
        ("#verdict", "Failed"),
        ("#leaked + .lead", "30 leaking prompts"),
        ("#leaked + .lead", "p is the share of a prompt's samples that show the image"),
        ("#leaks .scores", "1 prompt, p "),
        ("#leaks .scores", "confirmed"),
        ("#next", "Next steps"),
        (".steps code", "flashbulb audit --replay"),
        (".steps code", "flashbulb diff"),
    ):
        assert bottom_of(browser, selector, text) <= 800, text
    assert bottom_of(browser, ".steps code", "flashbulb waivers add") <= 1000


def test_on_a_phone_next_steps_begin_within_the_second_screen(browser: Browser, page: Path) -> None:
    browser.open(page, 390, 844)
    assert bottom_of(browser, "#verdict") <= 844
    assert bottom_of(browser, "#leaks .file") <= 844
    assert bottom_of(browser, "#next") <= 2 * 844


@pytest.mark.parametrize(("width", "n_first"), [(390, 6), (1280, 10)])
def test_two_rows_of_images_are_shown_until_all_are_requested(
    browser: Browser, page: Path, width: int, n_first: int
) -> None:
    browser.open(page, width, 800)
    shown = "return Array.from(document.querySelectorAll('#leaks li')).filter(tile => tile.checkVisibility()).length"
    assert browser.run(shown) == n_first
    browser.run("document.getElementById('more-leaks').click()")
    assert browser.run(shown) == 24
    assert not browser.run("return document.getElementById('more-leaks').checkVisibility()")


@pytest.mark.parametrize(
    ("link", "answer"),
    [
        ("Findings", "marks what is new"),
        ("Limits", "What this audit could have found"),
        ("Limits", "What this audit does not prove"),
        ("Limits", "Only the given prompts were tried"),
        ("Command", "flashbulb audit"),
        ("Glossary", "seed agreement"),
    ],
)
def test_one_click_answers_the_rest(browser: Browser, page: Path, link: str, answer: str) -> None:
    browser.open(page, 1280, 800)
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    browser.driver.find_element("link text", link).click()
    visible = """return Array.from(document.querySelectorAll('main h2, main h3, main p, main li, main code, main dt'))
        .filter(e => { const r = e.getBoundingClientRect(); return r.height && r.top >= 0 && r.bottom <= innerHeight })
        .map(e => e.textContent).join('\\n')"""
    assert answer in browser.run(visible)
