"""The page over many runs states the verdict of each, the trend, and why a run cannot be trusted."""

from pathlib import Path

import html5lib
import pytest

from flashbulb.reports.page.runs import write_runs_page
from flashbulb.reports.tables.files import RunFileError
from tests.reports.runs import LEAKS, PROMPTS, write_example


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
    assert newest == "a | models/toy | 2026-02-01 | fail | 1 of 20 | 1 | 1 | ▼ -1 images"
    assert oldest == "b | models/toy | 2026-01-01 | fail | 4 of 20 | 2 | 2 | first of these prompts"
    assert untrusted.startswith("<b> | – | – | untrusted | – | – | – | <b>/scores.parquet is not the file that")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    assert page.count('href="a/report.html"') == page.count("href=") == 1


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="holds no run directory"):
        write_runs_page(tmp_path / "index.html", tmp_path)
