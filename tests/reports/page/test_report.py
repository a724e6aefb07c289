"""The page states the verdict of the gate, and shows the findings with their images, prompts and figures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashbulb.reports.bounds.replication import replication_of
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from flashbulb.reports.page.report import PageOptions, report_html
from flashbulb.reports.tables.files import MEMORIES_FILE
from flashbulb.reports.tables.schema import MEMORIES_SCHEMA, read_table
from tests.audit.commands import edit_run_json
from tests.reports.pages import SHOWN, TODAY, TRAINING_NAME, page_of, rewrite_table, write_illustrated
from tests.reports.parsed_pages import HTML, attributes, cards, parsed, texts
from tests.reports.run_files import seal_again
from tests.reports.runs import LEAKS, N_PROMPTS, SECRET, write_example

LENIENT = Policy(max_high=99, max_confirmed=99)


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


def test_an_audit_without_flags_has_a_page(tmp_path: Path) -> None:
    page = page_of(write_example(tmp_path / "run", {}))
    assert "No prompt was flagged." in page
    assert not cards(page)
