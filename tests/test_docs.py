"""Every Python example of the documentation runs, and the run directory's files, columns and keys are all described."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from flashbulb.reports.bounds.epsilon import EpsilonBound
from flashbulb.reports.gate.findings_file import FINDINGS_SCHEMA
from flashbulb.reports.prompts.view import PromptView
from flashbulb.reports.pull.record import PULL_SCHEMA, PullRecord
from flashbulb.reports.tables.canaries import CanaryRecord, CanaryTier
from flashbulb.reports.tables.compare import COMPARE_SCHEMA
from flashbulb.reports.tables.files import CANARIES_FILE, GUESSES_FILE, PROPENSITY_FILE, TABLE_FILES, VERDICT_FILES
from flashbulb.reports.tables.frame import Frame
from flashbulb.reports.tables.propensity import Propensity
from flashbulb.reports.tables.run_record import Calibration, Counts, RunRecord, StyleCalibration
from flashbulb.reports.tables.run_tables import AUDIT_SCHEMAS
from flashbulb.reports.tables.schema import CANARIES_SCHEMA, PROPENSITY_SCHEMA, scores_schema
from flashbulb.reports.tables.sweep import SWEEP_SCHEMA
from flashbulb.reports.views.ablation import ABLATION_SCHEMA
from flashbulb.reports.views.evaluation import EVALUATION_SCHEMA
from flashbulb.reports.views.localization import ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA
from tests.audit.commands import CANDIDATES, REFERENCE, text_file
from tests.paths import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_examples(page: Path, namespace: dict[str, object]) -> None:
    """Run every Python block of a page in one namespace, in their order."""
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python") > 0
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)  # errors name the line of the page


def test_examples_of_the_python_api_run_in_their_order(
    toy_pipe: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flashbulb.audit.stages.examine.require_working", lambda *_, **__: None)  # random weights
    toy_pipe.save_pretrained("my-pipeline")
    Path("captions.csv").write_text("prompt\n" + "\n".join(CANDIDATES), encoding="utf-8")
    text_file(Path("clean.txt"), REFERENCE)
    run_examples(DOCS / "python.md", {"__name__": "example"})
    assert "spike_score" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        *("my-pipeline", "captions.csv", "clean.txt", "runs", "labels.csv")
    }


def test_examples_on_neurons_run_in_their_order(
    toy_pipe: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    run_examples(DOCS / "neurons.md", {"__name__": "example", "pipe": toy_pipe})
    said = capsys.readouterr().out
    assert "there is no neuron 1000000; take the neurons from an audit of this model" in said
    assert float(re.search(r"changed by (\S+)", said)[1]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["neurons.json"]


def test_every_key_of_a_shown_prompt_is_described() -> None:
    """`show --json` has the columns of the prompt's row in scores.parquet, which are described with the table."""
    page = (DOCS / "stages.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith("| `show` |"))
    keys = {field.name for field in fields(PromptView)} - {*scores_schema(()).names}
    assert keys >= {"rungs", "sites"}
    assert not [key for key in sorted(keys) if f"`{key}`" not in row]


def test_every_file_column_and_key_of_a_run_directory_is_described() -> None:
    tables = (
        *AUDIT_SCHEMAS.values(),
        *(FINDINGS_SCHEMA, ABLATION_SCHEMA, SWEEP_SCHEMA, PROPENSITY_SCHEMA),
        *(ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA),
        *(COMPARE_SCHEMA, CANARIES_SCHEMA, PULL_SCHEMA),
    )
    of_canaries = (CanaryRecord, CanaryTier, EpsilonBound)
    records = (RunRecord, Counts, Calibration, StyleCalibration, Frame, Propensity, PullRecord, *of_canaries)
    names = {PROPENSITY_FILE, CANARIES_FILE, GUESSES_FILE, *TABLE_FILES, *VERDICT_FILES}
    names |= {name for table in tables for name in table.names}
    names |= {field.name for record in records for field in fields(record)}
    page = (DOCS.parent / "reports" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in sorted(names) if f"`{name}`" not in page]
    kinds_of_value = {name.removesuffix("_low").removesuffix("_high") for name in EVALUATION_SCHEMA.names}
    assert not [name for name in sorted(kinds_of_value) if f"`{name}`" not in page]
