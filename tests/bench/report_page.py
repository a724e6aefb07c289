"""`make bench-report`: what the page of a large audit weighs, how long it takes to write, and to open in Chromium."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from flashbulb.reports.page.cards import MAX_ILLUSTRATED
from tests.reports.pages import page_of, save_image
from tests.reports.run_files import seal_again
from tests.reports.runs import write_example
from tests.services.browser import CHROMIUM, Browser, chromium

N_TRIES = 5
_TIMES = "const n = performance.getEntriesByType('navigation')[0]; return [n.domInteractive, n.loadEventEnd]"
_SEARCH = """const start = performance.now(); const search = document.getElementById('search');
search.value = '99'; search.dispatchEvent(new Event('input')); document.body.offsetHeight;
const taken = performance.now() - start;
search.value = ''; search.dispatchEvent(new Event('input')); return taken"""
_SORT = """const start = performance.now(); document.querySelectorAll('#all thead button')[2].click();
document.body.offsetHeight; return performance.now() - start"""


def main() -> None:
    """Print one line a measure; times are medians of five."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--flagged", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = _large_page(Path(folder), arguments.prompts, arguments.flagged)
        if CHROMIUM is None:
            print("Chromium is not installed: opening is not measured")
            return
        with chromium() as browser:
            _measure(browser, page)


def _large_page(folder: Path, n_prompts: int, n_flagged: int) -> Path:
    """The page of an audit with that many prompts of 70 words; the flagged have four images of 512 pixels each."""
    prompts = [f"{index} {'a caption that goes on for a while ' * 9}" for index in range(n_prompts)]
    run = write_example(folder / "run", dict.fromkeys(range(n_flagged), "high"), prompts=prompts)
    for prompt in range(min(n_flagged, MAX_ILLUSTRATED)):
        for seed in range(4):
            save_image(run / "images" / f"p{prompt}" / f"seed-{seed}.png", 4 * prompt + seed, side=512)
    seal_again(run)
    started = time.monotonic()
    page = run / "report.html"
    page.write_text(page_of(run), encoding="utf-8")
    size = page.stat().st_size / 1e6
    print(f"{n_prompts:,} prompts, {n_flagged} flagged: {size:.1f} MB, written in {time.monotonic() - started:.1f} s")
    return page


def _measure(browser: Browser, page: Path) -> None:
    """Print medians; the processor time is that of the page's main thread, which other processes do not lengthen."""
    opened, searched, ordered, spent = [], [], [], []
    for _ in range(N_TRIES):
        browser.driver.get("about:blank")
        browser.driver.execute_cdp_cmd("Performance.disable", {})
        browser.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.open(page)
        opened.append(browser.run(_TIMES))
        metrics = browser.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        spent.append(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))
        searched.append(browser.run(_SEARCH))
        ordered.append(browser.run(_SORT))
    interactive, loaded = (median(values) / 1000 for values in zip(*opened, strict=True))
    print(f"opened in {loaded:.2f} s, {median(spent):.2f} s of processor time (parsed after {interactive:.2f} s)")
    print(f"searched in {median(searched) / 1000:.2f} s, sorted in {median(ordered) / 1000:.2f} s")


if __name__ == "__main__":
    main()
