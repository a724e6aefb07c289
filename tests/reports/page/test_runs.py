"""The page over many runs states the verdict of each, the trend, and why a run cannot be trusted."""

from pathlib import Path
from typing import Any

import html5lib
import pytest

from flashbulb.reports.page.runs import write_runs_page
from flashbulb.reports.tables.files import RunFileError
from tests.reports.examples import run_record
from tests.reports.runs import LEAKS, PROMPTS, write_example

OTHER_PROMPTS = {**run_record().inputs, "prompts": {"source": "data/other.csv", "sha256": "1" * 64}}


def rows_of(page: Path) -> list[str]:
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page.read_text(encoding="utf-8"))
    return [" | ".join("".join(cell.itertext()) for cell in row) for row in tree.iter("tr")][1:]


def test_each_run_has_its_verdict_and_trend_the_newest_first(tmp_path: Path) -> None:
    write_example(tmp_path / "b", LEAKS, prompts=PROMPTS, finished="2026-01-01T00:00:00+00:00")
    write_example(tmp_path / "a", {0: "high"}, prompts=PROMPTS, finished="2026-02-01T00:00:00+00:00")
    (tmp_path / "a" / "report.html").write_text("x", encoding="utf-8")
    broken = write_example(tmp_path / "<b>", LEAKS, prompts=PROMPTS)
    (broken / "scores.parquet").write_bytes(b"")
    assert write_runs_page(tmp_path / "index.html", tmp_path) == 3
    newest, oldest, untrusted = rows_of(tmp_path / "index.html")
    assert newest == "a | models/toy | 2026-02-01 | fail | 1 of 20 | 1 | 1 | ▼ 1 image fewer than b"
    assert oldest == "b | models/toy | 2026-01-01 | fail | 4 of 20 | 2 | 2 | first of these prompts and settings"
    assert untrusted.startswith("<b> | – | – | untrusted | – | – | – | <b>/scores.parquet is not the file that")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    assert page.count('<a href="a/report.html"') == page.count("<a ") == 1


def test_runs_of_the_same_prompts_have_a_curve(tmp_path: Path) -> None:
    for day, n_leaks in enumerate((3, 0, 2), 1):
        leaks = dict.fromkeys(range(n_leaks), "high")
        write_example(tmp_path / f"step-{day}", leaks, prompts=PROMPTS, finished=f"2026-01-0{day}T00:00:00+00:00")
        named = {"prompts": PROMPTS, "inputs": OTHER_PROMPTS, "finished": f"2026-02-0{day}T00:00:00+00:00"}
        write_example(tmp_path / f"other-{day}", leaks, **named)
    assert write_runs_page(tmp_path / "index.html", tmp_path) == 6
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "other.csv, 3 runs" in page
    assert "Distinct images confirmed, run by run: step-1 3, step-2 0, step-3 2." in page
    assert ">prompts, 3 runs<" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {**run_record().settings, "n_seeds": 99}},
        {"inputs": {**run_record().inputs, "reference": {"sha256": "2" * 64}}},
        {"inputs": {**run_record().inputs, "training_images": {"sha256": "3" * 64, "n_images": 7}}},
        {"inputs": {**run_record().inputs, "prompts": {"source": "prompts.csv"}}},
    ],
)
def test_runs_of_other_settings_or_training_images_have_no_trend(tmp_path: Path, changes: dict[str, Any]) -> None:
    for day, (name, changed) in enumerate((("alike", {}), ("other", changes), ("other-again", {})), 1):
        finished = f"2026-01-0{day}T00:00:00+00:00"
        write_example(tmp_path / name, LEAKS, prompts=PROMPTS, finished=finished, **changed)
    write_runs_page(tmp_path / "index.html", tmp_path)
    trends = [row.split(" | ")[-1] for row in rows_of(tmp_path / "index.html")]
    assert trends == ["= as many as alike", *["first of these prompts and settings"] * 2]
    assert "run by run: alike 2, other-again 2." in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_one_run_has_no_curve(tmp_path: Path) -> None:
    write_example(tmp_path / "a", LEAKS, prompts=PROMPTS)
    write_runs_page(tmp_path / "index.html", tmp_path)
    assert "<svg" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="holds no run directory"):
        write_runs_page(tmp_path / "index.html", tmp_path)
