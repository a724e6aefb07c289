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

from flashbulb.reports.gate.check import load_checked
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.waivers import Waiver
from flashbulb.reports.page.report import PageOptions, report_html
from flashbulb.reports.tables.evidence import (
    NEURON_GROUPS_SCHEMA,
    REFERENCE_SCORES_SCHEMA,
    SITE_PROFILES_SCHEMA,
    TEXT_NULL_SCHEMA,
)
from flashbulb.reports.tables.files import (
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TABLE_FILES,
    TEXT_NULL_FILE,
    sha256_of,
)
from flashbulb.reports.tables.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, write_table
from tests.reports.runs import LEAKS, PROMPTS, write_example

TODAY = date(2026, 6, 1)
SHOWN = PageOptions(redact_prompts=False, images="shown")
TRAINING_NAME = "portrait of Ann Secret.png"
SITES = (
    ("text_mlp", "text_encoder.encoder.layers.0.mlp.fc2"),
    ("cross_v", "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v"),
    ("feed_forward", "unet.up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2"),
)


def write_illustrated(
    directory: Path, prompts: Sequence[str] = PROMPTS, site: str = SITES[2][1], *, nearest_of_low: bool = False
) -> Path:
    """Write an audit that leaks two images, with all files of a real audit.

    Args:
        site: name of the last site, which may be hostile.
        nearest_of_low: the prompt of low severity, which gave no image, also has a nearest training image.
    """
    run = write_example(directory, LEAKS, prompts=prompts, n_false=1)
    sites = (*SITES[:2], (SITES[2][0], site))
    _save_images(run)
    rows = pq.read_table(run / RECOVERIES_FILE).to_pylist()
    for row in rows:
        if row["prompt_id"] in ("p0", "p1") and row["verdict"] != "not_shown":
            row |= {"image_path": f"images/{row['prompt_id']}/ascend-0.png", "similarity": 0.9, "confidence": 0.97}
            row |= {"nearest_image": str(run / "training" / TRAINING_NAME), "kind": "verbatim", "fixed_share": 0.6}
        if nearest_of_low and row["prompt_id"] == "p3":
            row["nearest_image"] = str(run / "training" / TRAINING_NAME)
        if row["prompt_id"] == "p1" and row["verdict"] == "confirmed":
            row |= {"kind": "template", "mask_path": "images/p1/ascend-0-fixed.png"}
    tables = {
        RECOVERIES_FILE: pa.Table.from_pylist(rows, schema=RECOVERIES_SCHEMA),
        SPIKES_FILE: _spikes(sites),
        SITE_PROFILES_FILE: _profiles(sites),
        REFERENCE_SCORES_FILE: _reference(),
        TEXT_NULL_FILE: _text_null(),
        NEURON_GROUPS_FILE: _groups(site),
    }
    for name, table in tables.items():
        write_table(run / name, table, table.schema, {})
    content = json.loads((run / "run.json").read_text())
    content["tables"] = {name: sha256_of(run / name) for name in TABLE_FILES}
    (run / "run.json").write_text(json.dumps(content))
    return run


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
    save_image(run / "training" / TRAINING_NAME, 99)
    for prompt in range(4):
        for seed in range(4):
            save_image(run / "images" / f"p{prompt}" / f"seed-{seed}.png", 10 * prompt + seed)
    for prompt in range(2):
        save_image(run / "images" / f"p{prompt}" / "ascend-0.png", 50 + prompt)
    mask = Image.fromarray(np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((32, 32), dtype=np.uint8)))
    mask.save(run / "images" / "p1" / "ascend-0-fixed.png")


def _spikes(sites: Sequence[tuple[str, str]]) -> pa.Table:
    rows = [
        {"prompt_id": f"p{prompt}", "site": site, "neuron": neuron, "token_class": "all", "activation": 1.5, "z": 9.5}
        | {"share": 0.01}
        for prompt in range(4)
        for neuron, (_, site) in enumerate(sites)
    ]
    return pa.Table.from_pylist(rows, schema=SPIKES_SCHEMA)


def _profiles(sites: Sequence[tuple[str, str]]) -> pa.Table:
    rows = [
        {"prompt_id": f"p{prompt}", "is_control": prompt > 3, "kind": kind, "site": site, "n_neurons": 64}
        | {"rms_z": 1.0 if prompt > 3 else 2.0 + place, "spike_share": 0.1}
        for prompt in range(12)
        for place, (kind, site) in enumerate(sites)
    ]
    return pa.Table.from_pylist(rows, schema=SITE_PROFILES_SCHEMA)


def _reference() -> pa.Table:
    scores = np.sort(np.random.default_rng(0).gamma(20, 0.04, 200))
    columns = {"prompt_id": [f"r{n}" for n in range(200)], "style": [0] * 200, "spike_score": scores}
    held_out = 1 - np.arange(200) / 200
    return pa.table(columns | {"held_out_p_value": held_out}, schema=REFERENCE_SCORES_SCHEMA)


def _text_null() -> pa.Table:
    scores = np.random.default_rng(1).random(60)
    columns = {"prompt_id": [f"t{n}" for n in range(60)], "is_flagged": [n < 20 for n in range(60)], "score": scores}
    return pa.table(columns, schema=TEXT_NULL_SCHEMA)


def _groups(site: str) -> pa.Table:
    shared = {"group_id": "group-001", "site": site, "token_class": "all", "n_prompts": 3, "mean_z": 9.0}
    shared |= {"expected_prompts": 0.1, "prompt_ids": ["p0", "p1"], "n_group_prompts": 3, "n_findings": 2}
    rows = [shared | {"neuron": neuron, "unflagged_share": 0.0, "p_value": 1e-6} for neuron in range(4)]
    return pa.Table.from_pylist(rows, schema=NEURON_GROUPS_SCHEMA)
