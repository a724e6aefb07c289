"""The page runs and loads nothing of others, hides what it is told to, and stays small and the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flashbulb.reports.page.report import PageOptions
from tests.reports.pages import TRAINING_NAME, page_of, write_illustrated
from tests.reports.parsed_pages import HTML, attributes, cards, parsed, texts
from tests.reports.runs import HOSTILE, LEAKS, PROMPTS, SECRET, write_example

REDACTED = PageOptions(redact_prompts=True, images="shown")


Skeleton = list[tuple[str, tuple[str, ...]]]


def test_every_link_within_the_page_has_its_target(page: str) -> None:
    ids = list(attributes(page, "id"))
    assert len(ids) == len(set(ids))
    linked = {href[1:] for href in attributes(page, "href") if href.startswith("#")}
    assert linked <= set(ids)
    assert len([target for target in linked if target.startswith("finding-")]) == len(LEAKS)


def test_the_page_loads_no_other_resource(run: Path, page: str) -> None:
    assert {src.split(",")[0] for src in attributes(page, "src")} == {"data:image/webp;base64"}
    hrefs = [href for href in attributes(page, "href") if not href.startswith(("#", "data:image/png;base64,"))]
    assert hrefs
    assert all((run / href.replace("%20", " ")).is_file() for href in hrefs)
    assert "default-src 'none'" in page
    assert not re.findall(r"url\((?!['\"]?#)|@import|<link|<iframe|<object|<embed|<form[^>]+action", page)


def test_redaction_removes_prompts_image_names_and_links(run: Path) -> None:
    page = page_of(run, REDACTED)
    assert SECRET in page_of(run)
    assert SECRET not in page
    assert TRAINING_NAME not in page
    assert "Ann Secret" not in page
    assert "captions.csv, row 2" in page
    assert all(href.startswith(("#", "data:image/png")) for href in attributes(page, "href"))


@pytest.mark.parametrize("images", ["none", "blurred"])
def test_hidden_images_are_not_linked(run: Path, images: Any) -> None:
    page = page_of(run, PageOptions(False, images))
    assert not [href for href in attributes(page, "href") if href.endswith(".png")]
    n_shown = len(list(parsed(page).iter(f"{HTML}img")))
    assert n_shown == 0 if images == "none" else n_shown > 10


@pytest.fixture(scope="module")
def plain(page: str) -> Skeleton:
    return skeleton(page)


def skeleton(page: str) -> Skeleton:
    """Elements with the names of their attributes, in order, without the elements of drawings."""
    svg = "{http://www.w3.org/2000/svg}"
    return [(str(e.tag), tuple(sorted(e.attrib))) for e in parsed(page).iter() if not str(e.tag).startswith(svg)]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=60))
@example(text=HOSTILE)
@example(text="</script><script>x</script>")
def test_untrusted_text_never_becomes_markup(tmp_path: Path, plain: Skeleton, text: str) -> None:
    """Whatever the text of prompts and sites, the page has the same elements."""
    text = text.replace("\x00", "") or "x"
    odd = write_illustrated(tmp_path / "odd", prompts=[text, *PROMPTS[1:]], site=f"unet.{text}.ff.net.2")
    assert skeleton(page_of(odd)) == plain


def test_a_hostile_prompt_is_shown_as_text(tmp_path: Path) -> None:
    run = write_illustrated(tmp_path / "run", prompts=[HOSTILE, *PROMPTS[1:]])
    page = page_of(run)
    assert "<script>alert(1)</script>" in texts(cards(page)[0])
    assert "⟨U+202E⟩" in texts(cards(page)[0])
    assert not set(page) & {"\x1b", "\u202e", "\x00"}


def test_a_prompt_of_ten_thousand_characters_is_cut(tmp_path: Path) -> None:
    run = write_illustrated(tmp_path / "run", prompts=["long " * 2000, *PROMPTS[1:]])
    assert page_of(run).count("long ") < 200


def test_ten_thousand_prompts_stay_below_twenty_megabytes(tmp_path: Path) -> None:
    prompts = [f"{index} {'a caption that goes on for a while ' * 20}" for index in range(10_000)]
    leaks = dict.fromkeys(range(1100), "high")
    run = write_example(tmp_path / "run", leaks, prompts=prompts)
    page = page_of(run)
    assert len(page.encode()) < 20_000_000
    assert len(re.findall(r'<li class="card', page)) == 1000
    assert len(re.findall(r'<details class="finding" open>', page)) == 5


def test_the_same_run_gives_the_same_page(run: Path, page: str) -> None:
    assert page_of(run) == page
