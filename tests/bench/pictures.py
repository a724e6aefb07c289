"""The pictures of the README and of "Reading the report", from a real audit of the embedded model.

    make pictures                 # audits the embedded model if runs/embedded does not hold its audit yet

Needs Chromium, which draws them: docs/demo.png from the tables and images of the run, docs/report.png from its page.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image, ImageChops

from flashbulb.audit.planted.paths import IMAGES
from tests.paths import ROOT
from tests.services.browser import CHROMIUM

SHOWN = "planted-34 planted-23 planted-21 planted-10 planted-16 planted-03 template-05-purple planted-36".split()
"""Training images, the last of which comes back at one seed of four."""
RUN = "runs/embedded"  # as people write it, because the page shows it
MARGIN = 16  # pixels of white below a picture
STYLE = """
body {margin: 0; padding: 14px 16px; color: #1f2328; font: 13px/1.35 system-ui, sans-serif; width: max-content}
table {border-collapse: collapse}
td {padding: 3px; text-align: center; vertical-align: top}
img {width: 104px; display: block; border-radius: 3px}
th {text-align: left; font-weight: 600; padding-right: 14px; width: 128px; vertical-align: middle}
th span {display: block; font-weight: 400; color: #59636e}
.back img {box-shadow: 0 0 0 2px #b3261e}
.verdict b {color: #b3261e; display: block}
.verdict td {padding-bottom: 12px; font-size: 12px}
.clean td, .clean th {border-top: 1px solid #d1d9e0; padding-top: 12px}
"""


class Column(NamedTuple):
    """A training image, what came back for its caption, how often, and the sample of an unflagged caption."""

    training: Path
    recovered: Path
    verdict: str
    control: Path


def columns(run: Path) -> list[Column]:
    """Read the shown findings of an audit, each above a control in whose samples nothing was found."""
    memories = pd.read_parquet(run / "memories.parquet")
    names = memories["nearest_image"].map(lambda name: Path(name or "").name)
    attempts = pd.read_parquet(run / "recoveries.parquet")
    tried = attempts[attempts["is_control"]].groupby("prompt_id")["verdict"].agg(set)
    clean = [prompt for prompt, verdicts in tried.items() if not verdicts & {"confirmed", "likely"}]
    found = []
    for stem, control in zip(SHOWN, clean, strict=False):
        memories_shown = memories[(names == f"{stem}.png") & ~memories["is_control"]]
        memory = memories_shown.loc[memories_shown["p_hits"].idxmax()]
        verdict = f"<b>{memory['verdict']}</b>similarity {memory['similarity']:.2f}<br>"
        verdict += f"{memory['p_hits']} of {memory['p_samples']} seeds"
        training, sample = IMAGES / f"{stem}.png", run / "images" / control / "seed-0.png"
        found.append(Column(training, run / memory["image_path"], verdict, sample))
    return found


def picture(shown: list[Column]) -> str:
    """Return the page of four rows that becomes docs/demo.png."""

    def row(kind: str, title: str, note: str, cells: list[str]) -> str:
        head = f"<th>{escape(title)}<span>{escape(note)}</span></th>"
        return f'<tr class="{kind}">{head}{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'

    def images(paths: list[Path]) -> list[str]:
        return [f'<img src="{path.resolve().as_uri()}">' for path in paths]

    rows = (
        row("", "Training image", "64 pixels", images([column.training for column in shown])),
        row("back", "Given back", "for its caption, from noise", images([column.recovered for column in shown])),
        row("verdict", "Verdict", "compared with all training images", [column.verdict for column in shown]),
        row("clean", "Controls", "unflagged captions: no training image", images([column.control for column in shown])),
    )
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><table>{''.join(rows)}</table>"


def screenshot(page: Path, out: Path, width: int, height: int, scale: float) -> None:
    """Draw a page with Chromium, cut what is white below it, and store few colours, which is a quarter of the size."""
    sizes = (f"--window-size={width},{height}", f"--force-device-scale-factor={scale}", f"--screenshot={out}")
    flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars".split()
    subprocess.run([str(CHROMIUM), *flags, *sizes, page.resolve().as_uri()], check=True, capture_output=True)
    with Image.open(out) as drawn:
        whole = drawn.convert("RGB")
    below = ImageChops.invert(whole).getbbox()
    end = whole.height if below is None else min(whole.height, below[3] + round(MARGIN * scale))
    shown = whole.crop((0, 0, whole.width, end))
    shown.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium)")
    subprocess.run([sys.executable, "-m", "flashbulb", "demo", "--out", RUN], check=True, cwd=ROOT)
    run = ROOT / RUN
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "demo.html")
        page.write_text(picture(columns(run)), encoding="utf-8")
        screenshot(page, ROOT / "docs" / "demo.png", 1060, 500, 1.5)
    screenshot(run / "report.html", ROOT / "docs" / "report.png", 1200, 1000, 1)


if __name__ == "__main__":
    main()
