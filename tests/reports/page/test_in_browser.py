"""The page in a real browser: it loads nothing, logs no errors, filters and sorts, and withstands hostile prompts."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, needs_chromium
from tests.reports.pages import TRAINING_NAME, page_of, write_illustrated
from tests.reports.runs import HOSTILE, N_PROMPTS, PROMPTS, write_example

pytestmark = needs_chromium

HOSTILE_PROMPTS = (
    f"{HOSTILE} <script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>",
    "\"' onmouseover=window.hacked=1 `${window.hacked=1}` {{ 7*7 }} {% raw %} &lt;b&gt;",
    "مرحبا \u202eevil\u202c \u2067שלום\u2069 עולם",
    "x" * 10_000,
)
SHOWN = "return Array.from(document.querySelectorAll('#all tbody tr')).filter(row => !row.hidden)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an audit whose first four prompts, all of them flagged, are hostile."""
    run = write_illustrated(
        tmp_path_factory.mktemp("page") / "run", [*HOSTILE_PROMPTS, *PROMPTS[4:]], site="unet.<b>.ff.net.2"
    )
    path = run / "report.html"
    path.write_text(page_of(run), encoding="utf-8")
    return path


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


def column(browser: Browser, number: int) -> list[str]:
    return list(browser.run(f"{SHOWN}.map(row => row.cells[arguments[0]].textContent)", number))


def click_head(browser: Browser, number: int) -> None:
    browser.run("document.querySelectorAll('#all thead button')[arguments[0]].click()", number)


def enter(browser: Browser, control: str, value: str) -> None:
    browser.run(
        "const control = document.getElementById(arguments[0]); control.value = arguments[1];"
        "control.dispatchEvent(new Event('input', { bubbles: true }))",
        control,
        value,
    )


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


CARDS = "Array.from(document.querySelectorAll('#cards > .card'))"


def test_findings_are_filtered_by_standing_and_verdict(browser: Browser, page: Path) -> None:
    browser.open(page)
    left = f"return {CARDS}.filter(card => card.checkVisibility()).map(card => card.dataset.verdict)"
    assert browser.run(left) == ["confirmed", "likely", "not_shown", "not_shown"]
    enter(browser, "finding-verdict", "likely")
    assert browser.run(left) == ["likely"]
    enter(browser, "finding-verdict", "")
    enter(browser, "standing", "breaks")
    assert browser.run(left) == ["confirmed", "likely"]
    assert browser.run("return document.getElementById('findings-shown').textContent") == "2 of 4 rows"


def test_a_link_opens_the_finding_it_leads_to(browser: Browser, page: Path) -> None:
    browser.open(page)
    closed = f"const last = {CARDS}.at(-1); last.querySelector('details').open = false; location.hash = last.id"
    browser.run(closed)
    assert browser.run(f"return {CARDS}.at(-1).querySelector('details').open")


def test_an_image_is_enlarged_beside_the_training_image_with_their_difference(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('#cards .images button').click()")
    panels = "return Array.from(document.querySelectorAll('.enlarged figure'), f => f.querySelectorAll('img').length)"
    assert browser.run(panels) == [1, 1, 2, 2]  # the last two are a slider and the difference
    shown = "return document.querySelector('.enlarged figure:nth-of-type(3) img + img').getBoundingClientRect().width"
    clipped = "return document.querySelector('.enlarged img + img').style.clipPath"
    assert browser.run(shown) > 100
    assert browser.run(clipped) == "inset(0px 0px 0px 50%)"
    browser.run(
        "const range = document.querySelector('.enlarged input'); range.value = 80;"
        "range.dispatchEvent(new Event('input'))"
    )
    assert browser.run(clipped) == "inset(0px 0px 0px 80%)"
    assert browser.complaints() == []
    browser.run("document.querySelector('#cards .images button').click()")
    assert browser.run(panels) == []


def test_findings_are_searched_by_image_prompt_and_fingerprint(browser: Browser, page: Path) -> None:
    browser.open(page)
    left = f"return {CARDS}.filter(card => card.checkVisibility()).length"
    fingerprint = browser.run(f"return {CARDS}[1].querySelector('.prompts code').textContent")
    for wanted, n in ((TRAINING_NAME.upper(), 2), (PROMPTS[5], 0), (fingerprint, 1), ("window.hacked", 2), ("", 4)):
        enter(browser, "finding-search", wanted)
        assert browser.run(left) == n, wanted


def test_filters_stand_in_the_address(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("return location.href") == page.as_uri()
    enter(browser, "finding-verdict", "likely")
    enter(browser, "search", "portrait 17")
    address = browser.run("return location.href")
    assert address == f"{page.as_uri()}?finding-verdict=likely&search=portrait+17"
    browser.driver.get(address)
    assert browser.run("return document.getElementById('findings-shown').textContent") == "1 of 4 rows"
    assert column(browser, 0) == [PROMPTS[17]]
    browser.driver.get(f"{page.as_uri()}?standing=nonsense&other=1")
    assert browser.run("return document.getElementById('findings-shown').textContent") == "4 of 4 rows"


def test_a_finding_has_a_link_by_number_and_by_fingerprint(browser: Browser, page: Path) -> None:
    browser.open(page)
    fingerprint = browser.run(f"return {CARDS}[2].querySelector('.prompts code').textContent")
    for name in ("3", fingerprint):
        browser.open(page)
        browser.run(f"for (const card of {CARDS}) card.querySelector('details').open = false")
        browser.run("location.hash = 'finding-' + arguments[0]", name)
        assert browser.run(f"return {CARDS}.map(card => card.querySelector('details').open)") == [0, 0, 1, 0]
    browser.open(page)
    browser.run("location.hash = 'finding-99'; location.hash = '%'")
    assert browser.complaints() == []


def test_a_card_copies_its_link_and_the_line_that_waives_it(browser: Browser, page: Path) -> None:
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.open(page)
    copied = []
    for number in (0, 1):
        browser.run(f"{CARDS}[1].querySelectorAll('.actions button')[arguments[0]].click()", number)
        copied.append(
            browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
        )
    fingerprint = browser.run(f"return {CARDS}[1].querySelector('.prompts code').textContent")
    assert copied[0] == f"{page.as_uri()}#finding-2"
    assert copied[1].startswith(f"flashbulb waivers add waivers.toml {fingerprint} --run ")


def test_arrows_walk_over_the_rows_and_escape_shuts_an_enlarged_image(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    enter(browser, "finding-verdict", "not_shown")
    browser.run(f"{CARDS}[2].querySelector('summary').focus()")
    focused = f"return {CARDS}.indexOf(document.activeElement.closest('.card'))"
    walked = []
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ARROW_UP):
        browser.driver.switch_to.active_element.send_keys(key)
        walked.append(browser.run(focused))
    assert walked == [3, 3, 2, 2]
    browser.run(f"{CARDS}[2].querySelector('.images button').click(); {CARDS}[2].querySelector('summary').focus()")
    assert browser.run("return document.querySelectorAll('.enlarged').length") == 1
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert browser.run("return document.querySelectorAll('.enlarged').length") == 0
    assert browser.run("return document.activeElement.textContent").startswith("Enlarge")


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


def test_cards_are_no_items_of_a_list(browser: Browser, page: Path) -> None:
    """Else each card that a filter hides makes the browser number all the others again: 15 s for 1,000 findings."""
    browser.open(page)
    assert browser.run(f"return {CARDS}.filter(c => getComputedStyle(c).display === 'list-item')") == []


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
