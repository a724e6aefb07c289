"""`flashbulb index-runs` writes one page over many runs; every mistake is one line."""

from pathlib import Path

from tests.audit.commands import refused, run_flashbulb
from tests.reports.runs import LEAKS, PROMPTS, write_example


def test_the_page_lists_every_run_with_date_verdict_and_curve(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for day, leaks in ((1, LEAKS), (2, {})):
        write_example(runs / f"step-{day}", leaks, prompts=PROMPTS, finished=f"2026-03-0{day}T00:00:00+00:00")
    (runs / "notes").mkdir()
    answer = run_flashbulb("index-runs", runs)
    assert (answer.code, answer.out) == (0, f"{runs / 'index.html'}\n")
    page = (runs / "index.html").read_text(encoding="utf-8")
    for text in ("2 runs", "2026-03-01", "2026-03-02", ">fail<", "▼ 2 images fewer", "<svg"):
        assert text in page, text
    assert run_flashbulb("index-runs", runs, "--out", tmp_path / "all.html").code == 0
    assert (tmp_path / "all.html").is_file()


def test_mistakes_are_one_line_and_write_nothing(tmp_path: Path) -> None:
    assert "holds no run directory; give the folder that --out directories lie in" in refused("index-runs", tmp_path)
    write_example(tmp_path / "run", {})
    assert "should end in .html" in refused("index-runs", tmp_path, "--out", tmp_path / "all.txt")
    assert "holds no run directory" in refused("index-runs", tmp_path / "run")
    assert not list(tmp_path.glob("*.html"))
