"""Findings in a real browser are filtered, searched, linked, enlarged, copied and walked over."""

from pathlib import Path

from tests.reports.page.browser.conftest import column, enter
from tests.reports.pages import TRAINING_NAME
from tests.reports.runs import PROMPTS
from tests.services.browser import Browser, needs_chromium

pytestmark = needs_chromium


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


def test_cards_are_no_items_of_a_list(browser: Browser, page: Path) -> None:
    """Else each card that a filter hides makes the browser number all the others again: 15 s for 1,000 findings."""
    browser.open(page)
    assert browser.run(f"return {CARDS}.filter(c => getComputedStyle(c).display === 'list-item')") == []
