"""Every Python example of the documentation runs, and the run directory's files, columns and keys are all described."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from reports.ablation import ABLATION_SCHEMA
from reports.check import OTHER_TABLES
from reports.evaluation import EVALUATION_SCHEMA
from reports.files import TABLE_FILES, VERDICT_FILES
from reports.findings_file import FINDINGS_SCHEMA
from reports.localization import ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA
from reports.run_record import Calibration, Counts, RunRecord, StyleCalibration
from reports.schema import RECOVERIES_SCHEMA, scores_schema

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_examples_on_neurons_run_in_their_order(
    toy_pipe: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = DOCS / "neurons.md"
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "example", "pipe": toy_pipe}
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)  # errors name the line of the page
    said = capsys.readouterr().out
    assert "there is no neuron 1000000; take the neurons from an audit of this model" in said
    assert float(re.search(r"changed by (\S+)", said)[1]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["levers.json"]


def test_every_file_column_and_key_of_a_run_directory_is_described() -> None:
    tables = (
        *OTHER_TABLES.values(),
        *(scores_schema(()), RECOVERIES_SCHEMA, FINDINGS_SCHEMA, ABLATION_SCHEMA),
        *(ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA),
    )
    records = (RunRecord, Counts, Calibration, StyleCalibration)
    names = {*TABLE_FILES, *VERDICT_FILES, *(name for table in tables for name in table.names)}
    names |= {field.name for record in records for field in fields(record)}
    page = (DOCS.parent / "reports" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in sorted(names) if f"`{name}`" not in page]
    kinds_of_value = {name.removesuffix("_low").removesuffix("_high") for name in EVALUATION_SCHEMA.names}
    assert not [name for name in sorted(kinds_of_value) if f"`{name}`" not in page]
