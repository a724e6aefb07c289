"""The results of an ablation read back as written, show what changed, and never render a prompt as markup."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from flashbulb.reports.figures.ablation import ablation_panel
from flashbulb.reports.tables.files import RUN_FILE, SCHEMA_VERSION, RunFileError, RunIncompleteError
from flashbulb.reports.tables.run_record import ModelIdentity, load_run
from flashbulb.reports.views.ablation import (
    ABLATION_FILE,
    AblationRecord,
    BeforeAfter,
    NeuronsIdentity,
    effect_of,
    write_effects,
)
from flashbulb.reports.views.ablation_markdown import MAX_PANELS, ablation_markdown
from flashbulb.reports.views.ablation_terminal import print_ablation
from flashbulb.reports.views.markdown_parts import MAX_ROWS
from tests.reports.ablation_examples import HOSTILE, rows, with_images
from tests.reports.examples import run_record
from tests.reports.run_files import read_ablation, write_record

RECORD = AblationRecord(
    schema_version=SCHEMA_VERSION,
    status="ablation",
    model=ModelIdentity("model", "0" * 16),
    neurons=NeuronsIdentity("neurons.json", "1" * 64, n_sites=2, n_neurons=30, fingerprint=None),
    settings={"prompt": ["a secret of the settings"], "by": "zero", "n_samples": 3},
    n_prompts=1,
    evaluations={"before": 150, "after": 150},
    versions={"flashbulb": "0.1.0"},
    tables={ABLATION_FILE: "2" * 64},
)


def printed(record: AblationRecord, table_rows: list[dict[str, Any]], width: int = 120) -> str:
    stream = io.StringIO()
    print_ablation(Console(file=stream, width=width), record, [effect_of(table_rows)], Path("out"))
    return stream.getvalue()


def test_a_record_reads_back_as_written(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_ablation(tmp_path) == RECORD


@pytest.mark.parametrize("status", ["ablation", "ablating"])
def test_an_ablation_is_not_read_as_an_audit(tmp_path: Path, status: str) -> None:
    write_record(tmp_path, replace(RECORD, status=status))
    with pytest.raises(RunIncompleteError, match="belongs to an ablation, not to an audit"):
        load_run(tmp_path)


def test_an_audit_is_not_read_as_an_ablation(tmp_path: Path) -> None:
    write_record(tmp_path, run_record())
    with pytest.raises(RunIncompleteError, match="neurons: field required"):
        read_ablation(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"status": None}, RunIncompleteError, "status: input should be a valid string; run the ablation again"),
        ({"schema_version": 99}, RunFileError, "schema version 99"),
        ({"n_prompts": -1}, RunIncompleteError, "n_prompts: input should be greater"),
        ({"neurons": {}}, RunIncompleteError, "neurons.file: field required"),
    ],
)
def test_changed_records_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[RunFileError], message: str
) -> None:
    write_record(tmp_path, RECORD)
    (tmp_path / RUN_FILE).write_text(json.dumps(asdict(RECORD) | changes))
    with pytest.raises(error, match=message) as caught:
        read_ablation(tmp_path)
    assert type(caught.value) is error


def test_an_effect_is_the_median_over_seeds_and_the_mean_response_norm() -> None:
    effect = effect_of(rows())
    assert effect.distance == pytest.approx(0.2)
    assert effect.response_norm == BeforeAfter(9.0, 3.0)
    assert effect.before[2] == "images/p1/before/seed-2.png"
    assert effect_of(rows(response_norm_before=None, response_norm_after=None)).response_norm is None


def test_the_page_shows_the_effects_and_their_limits() -> None:
    page = ablation_markdown(RECORD, [effect_of(rows())])
    assert page.startswith("# Ablation: 30 neurons of 2 sites\n")
    assert "their activations are replaced by zero." in page
    assert "| `a red fox` | 0.200 (0.100 to 0.300) | 0.020 → 0.400 | 1.00 → 0.33 | 9.00 → 3.00 |" in page
    assert "![before and after](panels/p1.png)" in page
    assert "not that it is stored in them" in page
    assert "| all | 300 |" in page
    assert "secret of the settings" not in page  # prompts appear only where they are cut and marked as code


def test_a_long_list_of_prompts_is_cut() -> None:
    effects = [effect_of(rows(f"p{n}")) for n in range(MAX_ROWS + 5)]
    page = ablation_markdown(RECORD, effects)
    assert "5 more prompts are in `ablation.parquet`." in page
    assert f"The panels of {MAX_ROWS + 5 - MAX_PANELS} more prompts are in the same folder." in page


def test_hostile_text_stays_text_on_the_page_and_the_terminal() -> None:
    record = replace(
        RECORD,
        model=ModelIdentity(HOSTILE, "0" * 16),
        neurons=replace(RECORD.neurons, file=HOSTILE),
        settings={**RECORD.settings, "by": HOSTILE},
    )
    page = ablation_markdown(record, [effect_of(rows(prompt=HOSTILE))])
    terminal = printed(record, rows(prompt=HOSTILE), width=400)
    for shown in (page, terminal):
        assert not {"\x1b", "\u202e", "\r"} & set(shown)
    outside_code = "".join(page.split("`")[::2])
    assert "<b>" not in outside_code
    assert "evil" not in outside_code
    assert "[red]x[/red]" in terminal


def test_the_terminal_shows_before_and_after() -> None:
    shown = printed(RECORD, rows())
    assert "a red fox" in shown
    assert all(part in shown for part in ("0.200", "0.020 → 0.400", "1.00 → 0.33", "9.00 → 3.00"))
    assert "30 neurons of 2 sites, by zero" in shown
    unguided = rows(response_norm_before=None, response_norm_after=None)
    assert "9.00" not in printed(RECORD, unguided)


@pytest.mark.parametrize("prompt", ["a red fox", HOSTILE, "x" * 5000, "狐", "$\\frac{1}{"])
def test_a_panel_shows_every_image_whatever_the_prompt(tmp_path: Path, prompt: str) -> None:
    with_images(tmp_path, rows())
    ablation_panel(effect_of(rows(prompt=prompt)), tmp_path)
    with Image.open(tmp_path / "panels/p1.png") as opened:
        panel = opened.convert("RGB")
    colors = {color: n for n, color in panel.getcolors(2**24)}
    teal, orange = colors[0, 128, 128], colors[255, 165, 0]
    assert teal == pytest.approx(orange, rel=0.02)
    assert teal + orange > panel.width * panel.height / 3
    assert not list(tmp_path.rglob("*.part"))


def test_a_panel_draws_no_more_than_eight_seeds(tmp_path: Path) -> None:
    many = [{**rows()[0], "image_index": index} for index in range(20)]
    with_images(tmp_path, many)
    ablation_panel(effect_of(many), tmp_path)
    with Image.open(tmp_path / "panels/p1.png") as panel:
        assert panel.width < 2200


def test_a_row_without_a_tile_distance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tile_distance"):
        write_effects(tmp_path, rows(tile_distance=None), {})
    assert not (tmp_path / ABLATION_FILE).exists()
