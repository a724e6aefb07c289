"""A finished audit with everything that the report shows: images, profiles, reference scores, groups of neurons."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from flashbulb.reports.page.report import PageOptions, report_html
from flashbulb.reports.tables.files import (
    MEMORIES_FILE,
    RECOVERIES_FILE,
    sha256_of,
)
from flashbulb.reports.tables.schema import RECOVERIES_SCHEMA, write_table
from tests.audit.commands import edit_run_json
from tests.reports.evidence_examples import SITES
from tests.reports.examples import memories_of
from tests.reports.run_files import read_metadata, seal_again
from tests.reports.runs import LEAKS, PROMPTS, write_example

TODAY = date(2026, 6, 1)
SHOWN = PageOptions(redact_prompts=False, images="shown")
TRAINING_NAME = "portrait of Ann Secret.png"
OTHER_NAME = "a hill.png"


def write_illustrated(
    directory: Path, prompts: Sequence[str] = PROMPTS, site: str = SITES[2][1], *, nearest_of_low: bool = False
) -> Path:
    """Write an audit that leaks two images, with all files of a real audit.

    Args:
        site: name of the last site, which may be hostile.
        nearest_of_low: the prompt of low severity, which gave no image, also has a nearest training image.
    """
    training = directory.parent / f"{directory.name}-training"
    sites = (*SITES[:2], (SITES[2][0], site))
    settings = {"train_images": str(training), "n_samples": 4}
    run = write_example(
        directory, LEAKS, prompts=prompts, likely=frozenset({1}), n_false=1, sites=sites, settings=settings
    )
    save_image(training / TRAINING_NAME, 99)
    save_image(training / OTHER_NAME, 98)
    _save_images(run)
    rows = pq.read_table(run / RECOVERIES_FILE).to_pylist()
    for row in rows:
        is_near = row["prompt_id"] in ("p0", "p1") or (nearest_of_low and row["prompt_id"] == "p3")
        row |= {"nearest_image": str(training / (TRAINING_NAME if is_near else OTHER_NAME)), "similarity": 0.4}
        if row["prompt_id"] in ("p0", "p1"):
            row |= {"image_path": f"images/{row['prompt_id']}/ascend-0.png", "confidence": 0.97, "fixed_share": 0.6}
            row |= {"similarity": 0.9, "kind": "verbatim"}
        if row["prompt_id"] == "p1":
            row |= {"kind": "template", "mask_path": "images/p1/ascend-0-fixed.png"}
    recoveries = pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA)
    rewrite_table(run, RECOVERIES_FILE, recoveries)
    rewrite_table(run, MEMORIES_FILE, memories_of(recoveries))
    return run


def rewrite_table(run: Path, name: str, table: pa.Table) -> None:
    """Replace a table of a run and its hash in run.json, and seal it again."""
    write_table(run / name, table, table.schema.remove_metadata(), read_metadata(run / name))
    edit_run_json(run, "tables", name, value=sha256_of(run / name))
    seal_again(run)


def page_of(run: Path, options: PageOptions = SHOWN, policy: Policy | None = None, *waivers: Waiver) -> str:
    """The report of a run as HTML."""
    checked = load_checked(run)
    report = judge(checked, policy or Policy(), waivers, None, new_only=False, today=TODAY)
    return report_html(run / "report.html", run, checked, report, options)


def save_image(path: Path, seed: int, side: int = 64) -> Path:
    """Save an image whose pixels depend on the seed, with the prompt in its metadata as an audit saves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    info = PngInfo()
    info.add_itxt("flashbulb", json.dumps({"prompt": PROMPTS[0]}))
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path


def _save_images(run: Path) -> None:
    for prompt in range(4):
        for seed in range(4):
            save_image(run / "images" / f"p{prompt}" / f"seed-{seed}.png", 10 * prompt + seed)
    for prompt in range(2):
        save_image(run / "images" / f"p{prompt}" / "ascend-0.png", 50 + prompt)
    mask = Image.fromarray(np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((32, 32), dtype=np.uint8)))
    mask.save(run / "images" / "p1" / "ascend-0-fixed.png")
