"""An ablation comes back as written, tells what changed, and shows no prompt as markup."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from reports.ablation import (
    ABLATION_FILE,
    ABLATION_SCHEMA,
    AblationRecord,
    BeforeAfter,
    NeuronsIdentity,
    effect_of,
    effects_of,
    finished_rows,
    load_ablation,
    write_effects,
)
from reports.ablation_markdown import MAX_PANELS, ablation_markdown
from reports.ablation_panel import ablation_panel
from reports.ablation_terminal import print_ablation
from reports.files import RUN_FILE, SCHEMA_VERSION, RunFileError, RunIncompleteError
from reports.markdown_parts import MAX_ROWS
from reports.record_files import write_record
from reports.run_record import ModelIdentity, load_run, write_run
from reports.schema import read_table
from tests.reports.examples import run_record

HOSTILE = "[red]x[/red] \x1b[31m\r\n\u202e`|` <b> ![x](http://evil) $x^2$"
RECORD = AblationRecord(
    schema_version=SCHEMA_VERSION,
    status="ablation",
    model=ModelIdentity("model", "0" * 16),
    neurons=NeuronsIdentity("levers.json", "1" * 64, n_sites=2, n_neurons=30, fingerprint=None),
    settings={"prompt": ["a secret of the settings"], "by": "zero", "engine": "hooks", "n_samples": 3},
    n_prompts=1,
    evaluations={"before": 150, "after": 150},
    versions={"engram": "0.1.0"},
    tables={ABLATION_FILE: "2" * 64},
)


def rows(prompt_id: str = "p1", prompt: str = "a red fox", **changes: Any) -> list[dict[str, Any]]:
    """A prompt's rows: three seeds whose pictures agreed before and no longer do after."""
    return [
        {
            "prompt_id": prompt_id,
            "prompt": prompt,
            "image_index": index,
            "tile_distance": 0.1 * (index + 1),
            "seed_diversity_before": 0.02,
            "seed_diversity_after": 0.4,
            "seed_agreement_before": 1.0,
            "seed_agreement_after": 1 / 3,
            "text_conditional_noise_before": 8.0 + index,
            "text_conditional_noise_after": 2.0 + index,
            "before_path": f"images/{prompt_id}/before/seed-{index}.png",
            "after_path": f"images/{prompt_id}/after/seed-{index}.png",
            "panel_path": f"panels/{prompt_id}.png",
            **changes,
        }
        for index in range(3)
    ]


def with_pictures(directory: Path, of: list[dict[str, Any]], size: tuple[int, int] = (64, 48)) -> Path:
    """Paint the pictures that `of` names, before and after of two colours, and their panels."""
    for row in of:
        for column, color in (("before_path", "teal"), ("after_path", "orange"), ("panel_path", "white")):
            path = directory / row[column]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, color).save(path)
    return directory


def printed(record: AblationRecord, of: list[dict[str, Any]], width: int = 120) -> str:
    stream = io.StringIO()
    print_ablation(Console(file=stream, width=width), record, [effect_of(of)], Path("out"))
    return stream.getvalue()


def test_a_record_comes_back_as_written(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert load_ablation(tmp_path) == RECORD


def test_an_ablation_is_no_audit_and_an_audit_no_ablation(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    with pytest.raises(RunIncompleteError, match="status 'ablation'"):
        load_run(tmp_path)
    write_run(tmp_path, run_record())
    with pytest.raises(RunFileError, match=r"is not of an ablation \(status 'complete'\); give the OUT of `engram abl"):
        load_ablation(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"status": "ablating"}, RunIncompleteError, "the ablation is not complete; run it again"),
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
        load_ablation(tmp_path)
    assert type(caught.value) is error


def test_an_effect_is_the_median_over_seeds_and_the_mean_noise() -> None:
    effect = effect_of(rows())
    assert effect.distance == pytest.approx(0.2)
    assert effect.noise == BeforeAfter(9.0, 3.0)
    assert effect.before[2] == "images/p1/before/seed-2.png"
    assert effect_of(rows(text_conditional_noise_before=None, text_conditional_noise_after=None)).noise is None


def test_the_table_comes_back_prompt_by_prompt(tmp_path: Path) -> None:
    both = [*rows("p2"), *rows("p1", HOSTILE)]
    table = write_effects(tmp_path, both, {"model_fingerprint": "0" * 16})
    assert read_table(tmp_path / ABLATION_FILE, ABLATION_SCHEMA).to_pylist() == both
    assert effects_of(table) == [effect_of(rows("p2")), effect_of(rows("p1", HOSTILE))]


def test_a_prompt_is_finished_while_all_its_pictures_are_there(tmp_path: Path) -> None:
    both = [*rows("p1"), *rows("p2")]
    assert finished_rows(tmp_path) == {}
    write_effects(with_pictures(tmp_path, both), both, {})
    assert finished_rows(tmp_path) == {"p1": rows("p1"), "p2": rows("p2")}
    (tmp_path / "images/p1/after/seed-1.png").unlink()
    (tmp_path / "panels/p2.png").unlink()
    assert finished_rows(tmp_path) == {}


def test_a_torn_table_has_finished_nothing_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    write_effects(with_pictures(tmp_path, rows()), rows(), {})
    path = tmp_path / ABLATION_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert finished_rows(tmp_path) == {}
    newer = ABLATION_SCHEMA.with_metadata({"engram.schema_version": "99"})
    pq.write_table(pa.Table.from_pylist(rows(), schema=newer), path)
    with pytest.raises(RunFileError, match="schema version 99"):
        finished_rows(tmp_path)


def test_the_page_says_what_changed_and_what_that_means() -> None:
    page = ablation_markdown(RECORD, [effect_of(rows())])
    assert page.startswith("# Ablation: 30 neurons of 2 sites\n")
    assert "what stood in for them: zero." in page
    assert "| `a red fox` | 0.200 (0.100 to 0.300) | 0.020 → 0.400 | 1.00 → 0.33 | 9.00 → 3.00 |" in page
    assert "![before and after](panels/p1.png)" in page
    assert "not that it is stored in them" in page
    assert "| all | 300 |" in page
    assert "secret of the settings" not in page  # prompts stand where they are cut and marked as code


def test_a_long_list_of_prompts_is_cut() -> None:
    effects = [effect_of(rows(f"p{n}")) for n in range(MAX_ROWS + 5)]
    page = ablation_markdown(RECORD, effects)
    assert "5 more prompts are in `ablation.parquet`." in page
    assert f"Panels of {MAX_ROWS + 5 - MAX_PANELS} more prompts lie beside these." in page


def test_hostile_text_stays_text_on_page_and_terminal() -> None:
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
    assert "30 neurons of 2 sites, by zero, through hooks" in shown
    unguided = rows(text_conditional_noise_before=None, text_conditional_noise_after=None)
    assert "9.00" not in printed(RECORD, unguided)


@pytest.mark.parametrize("prompt", ["a red fox", HOSTILE, "x" * 5000, "狐", "$\\frac{1}{"])
def test_a_panel_shows_every_picture_whatever_the_prompt(tmp_path: Path, prompt: str) -> None:
    with_pictures(tmp_path, rows())
    ablation_panel(effect_of(rows(prompt=prompt)), tmp_path)
    with Image.open(tmp_path / "panels/p1.png") as opened:
        panel = opened.convert("RGB")
    colors = {color: n for n, color in panel.getcolors(2**24)}
    teal, orange = colors[0, 128, 128], colors[255, 165, 0]
    assert teal == pytest.approx(orange, rel=0.02)
    assert teal + orange > panel.width * panel.height / 3
    assert not list(tmp_path.rglob("*.part"))


def test_a_panel_of_many_seeds_is_cut_and_says_so(tmp_path: Path) -> None:
    many = [{**rows()[0], "image_index": index} for index in range(20)]
    with_pictures(tmp_path, many)
    ablation_panel(effect_of(many), tmp_path)
    with Image.open(tmp_path / "panels/p1.png") as panel:
        assert panel.width < 2200


def test_a_number_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tile_distance"):
        write_effects(tmp_path, rows(tile_distance=None), {})
    assert not (tmp_path / ABLATION_FILE).exists()
