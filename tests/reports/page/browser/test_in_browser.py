"""The page in a real browser: it loads nothing, logs no errors, filters and sorts, and withstands hostile prompts."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.reports.page.browser.conftest import column, enter
from tests.reports.pages import page_of
from tests.reports.runs import N_PROMPTS, PROMPTS, write_example
from tests.services.browser import Browser, needs_chromium

pytestmark = needs_chromium


QUICK_WINDOWS = [(1200, "light"), (390, "dark")]
"""Width and scheme: a desktop and a phone, light and dark."""


WINDOWS = [
    *QUICK_WINDOWS,
    *(pytest.param(window, marks=pytest.mark.slow) for window in [(1200, "dark"), (390, "light")]),
]


@pytest.fixture(params=WINDOWS, ids=str)
def opened(request: Any, browser: Browser, page: Path) -> Browser:
    """The page in each window."""
    width, scheme = request.param
    browser.open(page, width, scheme=scheme)
    return browser


def click_head(browser: Browser, number: int) -> None:
    browser.run("document.querySelectorAll('#all thead button')[arguments[0]].click()", number)


def test_only_the_page_is_requested_and_no_error_is_logged(opened: Browser, page: Path) -> None:
    assert opened.requests() == [page.as_uri()]
    assert opened.complaints() == []


def test_hostile_prompts_are_shown_and_run_nothing(opened: Browser) -> None:
    assert opened.run("return window.hacked === undefined")
    assert opened.run("return document.scripts.length") == 1
    text = opened.run("return document.getElementById('findings').parentElement.textContent")
    assert "<script>window.hacked = 1</script>" in text
    assert "⟨U+202E⟩" in text


def test_nothing_overflows_the_window(opened: Browser) -> None:
    wide = """return Array.from(document.querySelectorAll('main *, header *')).filter(element =>
        !element.closest('.scroll') && element.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""
    assert opened.run(wide) == []
    assert opened.run("return document.documentElement.scrollWidth <= innerWidth")


def test_dark_is_dark_and_light_is_light(browser: Browser, page: Path) -> None:
    backgrounds = []
    for scheme in ("light", "dark"):
        browser.open(page, scheme=scheme)
        backgrounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, background.strip("rgb()").split(","))) for background in backgrounds)
    assert light > 700
    assert dark < 100


def test_search_and_filters_narrow_the_table(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert len(column(browser, 0)) == N_PROMPTS
    enter(browser, "search", "PORTRAIT 17")
    assert column(browser, 0) == [PROMPTS[17]]
    assert browser.run("return document.getElementById('shown').textContent") == f"1 of {N_PROMPTS} prompts"
    enter(browser, "search", "row 3")
    assert column(browser, 1) == ["captions.csv, row 3"]
    enter(browser, "search", "")
    enter(browser, "severity", "high")
    assert len(column(browser, 0)) == 2
    enter(browser, "severity", "none")
    assert len(column(browser, 0)) == N_PROMPTS - 4
    enter(browser, "severity", "")
    enter(browser, "image", "confirmed")
    assert set(column(browser, 6)) == {"confirmed (ascend)"}


def test_every_command_has_a_button_that_copies_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    commands = "Array.from(document.querySelectorAll('.command'))"
    assert browser.run(f"return {commands}.length") >= 3
    assert browser.run(f"return {commands}.every(c => c.querySelector('button').textContent === 'Copy')")


def test_a_command_breaks_between_its_words_only(browser: Browser, page: Path) -> None:
    """A line that ended in `--` left a reader with an option that is none."""
    browser.open(page, 390, 844)
    words = "Array.from(document.querySelectorAll('.steps .command span'))"
    assert "--replay" in browser.run(f"return {words}.map(word => word.textContent)")
    assert browser.run(
        "return Array.from(document.querySelectorAll('.steps code')).every(code => !/\\n|  /.test(code.textContent))"
    )
    lines = f"{words}.filter(word => /^--/.test(word.textContent)).map(word => word.getBoundingClientRect().height)"
    assert browser.run(f"return new Set({lines}).size") == 1


def test_a_long_table_is_cut_until_all_rows_are_requested(browser: Browser, tmp_path: Path) -> None:
    """A browser takes seconds to lay out ten thousand rows. The search covers all of them all the same."""
    run = write_example(tmp_path / "run", {}, prompts=[f"caption {index}" for index in range(1200)])
    path = run / "report.html"
    path.write_text(page_of(run), encoding="utf-8")
    browser.open(path)
    laid_out = "return Array.from(document.querySelectorAll('#all tbody tr')).filter(r => r.checkVisibility()).length"
    assert browser.run(laid_out) == 500
    enter(browser, "search", "caption 1199")
    assert column(browser, 0) == ["caption 1199"]
    enter(browser, "search", "")
    click_head(browser, 1)
    assert browser.run(laid_out) == 500
    browser.run("document.getElementById('more').click()")
    assert browser.run(laid_out) == 1200
    assert browser.run("return document.getElementById('more').hidden")


@pytest.mark.parametrize(("number", "key"), [(1, lambda text: int(text.split()[-1])), (2, float), (5, str)])
def test_a_click_sorts_and_a_second_click_reverses_the_order(
    browser: Browser, page: Path, number: int, key: Any
) -> None:
    browser.open(page)
    values = []
    for _ in range(2):
        click_head(browser, number)
        values.append([key(text) for text in column(browser, number)])
    if number == 5:
        order = ["", "low", "medium", "high"]
        values = [[order.index(value) for value in column_values] for column_values in values]
    assert len(values[0]) == N_PROMPTS
    assert sorted(values[0]) in values
    assert sorted(values[0], reverse=True) in values
    assert values[0] != values[1]


def test_the_table_can_be_sorted_by_keyboard(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.run("document.querySelectorAll('#all thead button')[2].focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.querySelectorAll('#all thead th')[2].ariaSort") == "descending"


def test_every_control_and_link_is_reached_by_tab_and_shows_its_focus(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    reachable = "Array.from(document.querySelectorAll('a[href], input, select, button, summary, [tabindex]'))"
    n = browser.run(f"return {reachable}.filter(element => element.checkVisibility()).length")
    body = browser.driver.find_element("tag name", "body")
    reached = set()
    for _ in range(n + 2):
        (body if not reached else browser.driver.switch_to.active_element).send_keys(Keys.TAB)
        outline, position = browser.run(
            "const e = document.activeElement; const r = e.getBoundingClientRect();"
            "return [getComputedStyle(e).outlineStyle, [e.tagName, r.x, r.y + scrollY].join()]"
        )
        reached.add(position)
        assert outline != "none" or position.startswith(("BODY", "HTML")), position
    assert len(reached) >= n


def test_without_scripts_the_table_is_complete_and_its_controls_are_hidden(browser: Browser, page: Path) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(page)
        controls = browser.driver.find_element("id", "controls")
        assert not controls.is_displayed()
        rows = browser.driver.find_elements("css selector", "#all tbody tr")
        assert len(rows) == N_PROMPTS
        assert rows[-1].is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_page_can_be_printed(browser: Browser, page: Path) -> None:
    browser.open(page)
    printed = b64decode(browser.driver.print_page())
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") >= 2


def test_images_are_drawn(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("return Array.from(document.images).every(image => image.complete && image.naturalWidth > 0)")
    assert browser.run("return document.images.length") > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser: Browser, page: Path, scheme: str) -> None:
    """The rules of WCAG 2 that a machine can check: contrast, names, text alternatives, structure."""
    from axe_core_python.selenium import Axe

    browser.open(page, scheme=scheme)
    violations = Axe().run(browser.driver)["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"][:200]) for violation in violations] == []
