"""The page states the verdict of the gate, shows the findings, and never runs or loads anything."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import html5lib
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from flashbulb.reports.page.report import PageOptions, report_html
from flashbulb.reports.tables.files import MEMORIES_FILE
from flashbulb.reports.tables.schema import MEMORIES_SCHEMA, read_table
from tests.audit.commands import edit_run_json
from tests.audit.drawings import drawn_once
from tests.reports.pages import SHOWN, TODAY, TRAINING_NAME, page_of, rewrite_table, write_illustrated
from tests.reports.run_files import seal_again
from tests.reports.runs import HOSTILE, LEAKS, N_PROMPTS, PROMPTS, SECRET, write_example

LENIENT = Policy(max_high=99, max_confirmed=99)
REDACTED = PageOptions(redact_prompts=True, images="shown")
Skeleton = list[tuple[str, tuple[str, ...]]]
HTML = "{http://www.w3.org/1999/xhtml}"


@pytest.fixture(scope="module", autouse=True)
def drawn() -> Iterator[None]:
    """Let pages share figures."""
    with drawn_once():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit with everything that a page can show; tests must not change it."""
    return write_illustrated(tmp_path_factory.mktemp("illustrated") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    """Its page, with prompts and images."""
    return page_of(run)


def parsed(page: str) -> Any:
    """Parse the page as a browser does, but strictly: what a browser would repair is an error."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=True).parse(page)


def texts(element: Any) -> str:
    return " ".join(" ".join(element.itertext()).split())


def attributes(page: str, name: str) -> Iterator[str]:
    return (element.get(name) for element in parsed(page).iter() if element.get(name) is not None)


@pytest.mark.parametrize("policy", [Policy(), LENIENT, LENIENT.model_copy(update={"required_tiers": (3,)})])
def test_the_page_states_the_verdict_of_the_gate(run: Path, policy: Policy) -> None:
    report = judge(load_checked(run), policy, (), None, new_only=False, today=TODAY)
    tree = parsed(page_of(run, policy=policy))
    verdict = next(e for e in tree.iter(f"{HTML}section") if "verdict" in e.get("class", ""))
    assert report.verdict.outcome in verdict.get("class").split()
    for reason in report.verdict.reasons:
        assert reason in texts(verdict)


def test_the_method_describes_this_run(tmp_path: Path) -> None:
    settings = {"sites": ["cross_v"], "strategies": ["sample", "known_image"], "n_seeds": 2}
    page = texts(parsed(page_of(write_example(tmp_path / "run", LEAKS, settings=settings))))
    assert "The first denoising step of each prompt was run from 2 seeds." in page
    assert "neurons were recorded: cross-attention values." in page
    assert (
        "until an image was confirmed: sampling, optimization of the prompt embedding towards a known training image."
        in page
    )
    assert "feed-forward" not in page
    assert "cyclic" not in page


def test_an_untrusted_audit_says_so_in_its_headline(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", LEAKS, problems=("a site did not fire",))
    verdict = next(e for e in parsed(page_of(run)).iter(f"{HTML}section") if "verdict" in e.get("class", ""))
    assert "untrusted" in verdict.get("class").split()
    assert "Untrusted: no verdict can be drawn from this audit" in texts(verdict)
    assert "a site did not fire" in texts(verdict)


def test_key_figures_have_their_intervals(page: str) -> None:
    facts = next(e for e in parsed(page).iter(f"{HTML}dl") if e.get("class") == "facts")
    text = texts(facts)
    assert f"prompts audited {N_PROMPTS} of" in text
    assert "prompts flagged 4 " in text
    assert "5.73 % to 43.7 %" in text  # exact, 4 of 20
    assert "distinct memorized images confirmed 1 and 1 likely" in text
    assert "1 of 8 controls, 95 % interval 0.316 % to 52.7 %" in text
    assert "text-only AUC 0.55" in text


def cards(page: str) -> list[Any]:
    return [e for e in parsed(page).iter(f"{HTML}li") if "card" in e.get("class", "").split()]


def test_findings_are_cards_worst_first(page: str) -> None:
    severities = [card.get("class").split()[1] for card in cards(page)]
    assert severities == ["high", "high", "medium", "low"]


def shown_in(card: Any) -> list[str]:
    """Descriptions of the images of a card; the small one in its row is decoration and has none."""
    return [image.get("alt") for image in card.iter(f"{HTML}img") if image.get("alt")]


def section(page: str, heading: str) -> Any:
    return next(e for e in parsed(page).iter(f"{HTML}section") if e.get("aria-labelledby") == heading)


def test_the_first_screen_names_what_leaked_and_what_to_do(page: str) -> None:
    leaked = section(page, "leaked")
    assert "2 leaking prompts, 1 distinct training image." in texts(leaked)
    assert shown_in(leaked) == [f"leaked training image {TRAINING_NAME}"]
    assert "2 prompts, p 1 " in texts(leaked)
    assert "flashbulb waivers add waivers.toml" in texts(section(page, "next"))
    order = [e.get("aria-labelledby") for e in parsed(page).iter(f"{HTML}section")]
    assert order[:4] == ["verdict", "leaked", "next", "findings"]


def test_every_term_of_the_glossary_is_linked_and_has_its_target(page: str) -> None:
    terms = {href for href in attributes(page, "href") if href.startswith("#term-")}
    assert {"#term-spike-score", "#term-p", "#term-p-value", "#term-fingerprint", "#term-severity"} <= terms
    assert {"#term-text-only-AUC", "#term-extractable", "#term-flagged"} <= terms  # tiles


def test_options_that_differ_from_their_defaults_are_a_command(tmp_path: Path) -> None:
    settings = {"n_seeds": 2, "prompts": "/home/ann/my captions.csv", "blur": False, "strategies": ["sample", "ascend"]}
    options = {"n_seeds": "--seeds", "prompts": "--prompts", "blur": "--blur", "strategies": "--strategies"}
    page = texts(parsed(page_of(write_example(tmp_path / "run", LEAKS, settings=settings, options=options))))
    command = "--seeds 2 --prompts '…/my captions.csv' --no-blur --strategies sample --strategies ascend"
    assert f"flashbulb audit {command}" in page
    assert "/home/ann" not in page


def test_a_card_shows_training_image_samples_and_recovered_image(page: str) -> None:
    first, second, third, _ = cards(page)
    alts = shown_in(first)
    assert alts[0] == f"training image {TRAINING_NAME}"
    assert sum(alt.startswith("plain sample") for alt in alts) == 4
    assert alts[-1].startswith("recovered image")
    assert any("is the same for every seed" in alt for alt in shown_in(second))
    assert {alt.split(" ")[0] for alt in shown_in(third)} == {"nearest", "plain"}
    assert "no image saved" not in texts(third)
    assert "to_v" in texts(first)
    assert next(first.iter("{http://www.w3.org/2000/svg}svg")) is not None


def test_a_training_image_that_was_not_copied_is_called_the_nearest(tmp_path: Path) -> None:
    """It is shown for comparison; a reader must not take it for an image that the model produced."""
    run = write_illustrated(tmp_path / "run", nearest_of_low=True)
    alts = [shown_in(card) for card in cards(page_of(run))]
    assert alts[0][0] == f"training image {TRAINING_NAME}"
    assert alts[3][0] == f"nearest training image {TRAINING_NAME}"


def test_prompts_that_lead_to_one_image_share_a_card(tmp_path: Path) -> None:
    run = write_illustrated(tmp_path / "run")
    checked = load_checked(run)
    report = judge(checked, Policy(), (), None, new_only=False, today=TODAY)
    together = tuple(
        replace(judged, finding=replace(judged.finding, image="same", images=())) if judged.finding.image else judged
        for judged in report.judged
    )
    page = report_html(run / "report.html", run, checked, replace(report, judged=together), SHOWN)
    assert len(cards(page)) == 3
    assert "2 prompts lead to this image" in texts(cards(page)[0])


def test_a_prompt_that_gives_several_images_stands_on_the_card_of_each(tmp_path: Path) -> None:
    run = write_illustrated(tmp_path / "run")
    memories = read_table(run / MEMORIES_FILE, MEMORIES_SCHEMA).to_pylist()
    often = replication_of(1, 4)
    other = memories[0] | {"finding_id": "f-other", "p_hits": 1, "p_low": often.low, "p_high": often.high}
    memories.insert(1, other | {"strategy": "sample", "image_path": "images/p0/seed-2.png"})
    rewrite_table(run, MEMORIES_FILE, pa.Table.from_pylist(memories, schema=MEMORIES_SCHEMA))
    edit_run_json(run, "counts", "n_confirmed_pictures", value=2)
    seal_again(run)
    first, second, *_ = cards(page_of(run))
    for card, seeds in ((first, "4 of 4 samples (p 1,"), (second, "1 of 4 samples (p 0.25,")):
        assert seeds in texts(card)
        assert "the prompt gives 2 memorized images" in texts(card)
    (image,) = [image for image in second.iter(f"{HTML}img") if image.get("alt").startswith("recovered image")]
    assert image.get("alt").endswith(", seed-2")
    assert image.get("src") in {i.get("src") for i in first.iter(f"{HTML}img")}
    assert sum(alt.startswith(("recovered image", "plain sample")) for alt in shown_in(second)) == 4
    assert first.get("id") != second.get("id")


def test_a_waived_finding_is_shown_with_its_waiver(run: Path) -> None:
    worst = load_checked(run).findings[0]
    waiver = Waiver(fingerprint=worst.fingerprint, reason="<b>cleared</b>", owner="ana", expires=TODAY)
    first = cards(page_of(run, PageOptions(False, "shown"), None, waiver))[0]
    assert f"Waived by ana until {TODAY}: <b>cleared</b>" in texts(first)


def test_the_table_has_one_row_per_prompt(page: str) -> None:
    table = next(e for e in parsed(page).iter(f"{HTML}table") if e.get("id") == "all")
    body = next(table.iter(f"{HTML}tbody"))
    assert len(list(body)) == N_PROMPTS
    assert texts(body).count(SECRET) == N_PROMPTS


def test_above_its_limit_the_table_has_the_highest_scores_and_counts_all_prompts(
    run: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashbulb.reports.page.rows.MAX_ROWS", 2)

    def rows(html: str) -> list[str]:
        table = next(e for e in parsed(html).iter(f"{HTML}table") if e.get("id") == "all")
        return [" ".join(texts(row)) for row in next(table.iter(f"{HTML}tbody"))]

    cut = page_of(run)
    assert rows(cut) == rows(page)[:2]
    assert f"{N_PROMPTS} prompts, flagged ones first" in cut
    assert "The first 2 are listed; scores.parquet has them all." in cut
    assert "are listed; scores.parquet" not in page


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


def test_an_audit_without_flags_has_a_page(tmp_path: Path) -> None:
    page = page_of(write_example(tmp_path / "run", {}))
    assert "No prompt was flagged." in page
    assert not cards(page)


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
