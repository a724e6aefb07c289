"""The pages of a comparison name prompts, images and models, or redact them, and load nothing."""

import json
import shutil
from pathlib import Path

import html5lib
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.audit.cli.compare.conftest import HOSTILE, QUICK, Pair, rows
from tests.audit.commands import CANDIDATES, ODD, refused, run_flashbulb
from tests.audit.conftest import Finished
from tests.services.browser import chromium, needs_chromium


def test_prompts_and_images_are_named_in_markdown_and_not_if_they_are_redacted(
    pair: Pair, done: Path, tmp_path: Path
) -> None:
    text = (done / "compare.md").read_text(encoding="utf-8")
    assert "at 1 of 4 prompts the fine-tune copies a training image and the base does not" in text
    listed = [line for line in text.splitlines() if line.startswith("| `")]
    assert listed[0].startswith(f"| `{CANDIDATES[2]}` |")
    assert " | 0 → 1 of 2 |" in listed[0]
    assert all(prompt in text for prompt in CANDIDATES[:3])
    assert f"`{HOSTILE}`" in text
    copy = Path(shutil.copytree(done, tmp_path / "out"))
    answer = run_flashbulb(*pair.options(copy, "--train-images", pair.training, "--redact-prompts"))
    assert answer.code == 0, answer.err
    for name in ("compare.md", "compare.html"):
        redacted = (copy / name).read_text(encoding="utf-8")
        assert "prompts.txt, row 3" in redacted
        assert "secret.png" not in redacted
        assert not [prompt for prompt in (*CANDIDATES[:3], HOSTILE) if prompt in redacted]
    assert rows(copy) == rows(done)


def test_the_page_loads_nothing_escapes_prompts_and_begins_with_what_is_copied(done: Path) -> None:
    page = (done / "compare.html").read_text(encoding="utf-8")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    assert not list(tree.iter("script"))
    assert all(image.get("src").startswith("data:image/webp") for image in tree.iter("img"))
    cards = [card for card in tree.iter("li") if "card" in card.get("class", "").split()]
    titles = ["".join(card.find(".//h3").itertext()).strip() for card in cards]
    assert titles[0] == f"1{CANDIDATES[2]}"
    assert {title[1:] for title in titles} == {*CANDIDATES[:3], HOSTILE}
    badges = ["".join(badge.itertext()) for badge in cards[0].iter("span") if "badge" in badge.get("class", "")]
    assert "copied by the fine-tune only" in badges
    links = [link.get("href") for card in cards for link in card.iter("a")]
    assert len([link for link in links if (done / link).is_file()]) == len(links) >= 4 * 2 * 2


@needs_chromium
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_fits_its_window_and_requests_nothing_else(done: Path, width: int) -> None:
    with chromium() as browser:
        browser.open(done / "compare.html", width)
        assert browser.requests() == [(done / "compare.html").as_uri()]
        assert browser.complaints() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_models_with_different_schedulers_are_named(pair: Pair, tmp_path: Path) -> None:
    """Their images differ without any training."""
    base = Path(shutil.copytree(pair.base, tmp_path / "base"))
    file = base / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "set_alpha_to_one": True}))
    answer = run_flashbulb(*pair._replace(base=base).options(tmp_path / "out", "--max-prompts", "1"))
    assert answer.code == 0, answer.err
    assert f"{base} has set_alpha_to_one True in its scheduler, {pair.finetune} has False: they differ" in answer.err


def test_prompts_of_an_audit_come_with_their_scores_and_controls_are_marked(
    pair: Pair, finished: Finished, tmp_path: Path
) -> None:
    scores = {row["prompt"]: row for row in pq.read_table(finished.run / "scores.parquet").to_pylist()}
    answer = run_flashbulb("compare", pair.finetune, pair.base, "--run", finished.run, "--out", tmp_path / "o", *QUICK)
    assert answer.code == 0, answer.err
    table = rows(tmp_path / "o")
    assert {row["prompt"] for row in table if not row["is_control"]} == {p for p, s in scores.items() if s["flagged"]}
    controls = {row["prompt_id"] for row in table if row["is_control"]}
    tried = pq.read_table(finished.run / "recoveries.parquet").to_pylist()
    assert controls == {row["prompt_id"] for row in tried if row["is_control"]} != set()
    for row in table:
        assert all(row[name] == scores[row["prompt"]][name] for name in ("spike_score", "p_value", "severity"))
    audited = finished.run / "images" / scores[ODD]["prompt_id"] / "seed-1.png"
    mine = tmp_path / "o" / next(row["image_path_finetune"] for row in table if row["prompt"] == ODD)
    assert np.array_equal(Image.open(audited), Image.open(mine.with_name("seed-1.png")))
    assert ">control<" in (tmp_path / "o" / "compare.html").read_text(encoding="utf-8")
    line = refused("compare", pair.base, pair.finetune, "--run", finished.run, "--out", tmp_path / "other", *QUICK)
    assert "give the model that was audited" in line
    assert not (tmp_path / "other").exists()
