"""The run directory's files, columns and keys are all described, and so is every term of the report."""

import re
from dataclasses import fields

from flashbulb.reports.bounds.epsilon import EpsilonBound
from flashbulb.reports.gate.findings_file import FINDINGS_SCHEMA
from flashbulb.reports.page.glossary import GLOSSARY
from flashbulb.reports.prompts.view import PromptView
from flashbulb.reports.pull.record import PULL_SCHEMA, PullRecord
from flashbulb.reports.tables.canaries import CanaryRecord, CanaryTier
from flashbulb.reports.tables.compare import COMPARE_SCHEMA
from flashbulb.reports.tables.evidence import CANARIES_SCHEMA, PROPENSITY_SCHEMA
from flashbulb.reports.tables.files import CANARIES_FILE, GUESSES_FILE, PROPENSITY_FILE, TABLE_FILES, VERDICT_FILES
from flashbulb.reports.tables.frame import Frame
from flashbulb.reports.tables.propensity import Propensity
from flashbulb.reports.tables.run_record import Calibration, Counts, RunRecord, StyleCalibration
from flashbulb.reports.tables.run_tables import AUDIT_SCHEMAS
from flashbulb.reports.tables.schema import scores_schema
from flashbulb.reports.tables.sweep import SWEEP_SCHEMA
from flashbulb.reports.views.ablation import ABLATION_SCHEMA
from flashbulb.reports.views.evaluation import EVALUATION_SCHEMA
from flashbulb.reports.views.localization import ATTRIBUTIONS_SCHEMA, LEVERS_SCHEMA, TOKENS_SCHEMA
from tests.paths import ROOT

DOCS = ROOT / "docs"


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
    canary_records = (CanaryRecord, CanaryTier, EpsilonBound)
    records = (RunRecord, Counts, Calibration, StyleCalibration, Frame, Propensity, PullRecord, *canary_records)
    names = {PROPENSITY_FILE, CANARIES_FILE, GUESSES_FILE, *TABLE_FILES, *VERDICT_FILES}
    names |= {name for table in tables for name in table.names}
    names |= {field.name for record in records for field in fields(record)}
    page = (DOCS.parent / "reports" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in sorted(names) if f"`{name}`" not in page]
    kinds_of_value = {name.removesuffix("_low").removesuffix("_high") for name in EVALUATION_SCHEMA.names}
    assert not [name for name in sorted(kinds_of_value) if f"`{name}`" not in page]


def test_the_glossary_has_every_term_of_the_report() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    assert not [term for term in GLOSSARY if f"- **{term}**: " not in page]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 8_000
    assert not [page.name for page in DOCS.glob("*.md") if f"](docs/{page.name})" not in text]


def test_the_map_of_the_source_has_every_room() -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    rooms = [
        path.parent.relative_to(ROOT) for top in ("audit", "reports") for path in ROOT.glob(f"{top}/*/__init__.py")
    ]
    assert len(rooms) > 20
    assert not [room for room in rooms if f"`{room.as_posix()}/`" not in page]


def test_the_summary_of_faults_has_the_counts_of_their_page() -> None:
    head = (DOCS / "faults.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [(int(tried.replace(",", "")), int(n)) for tried, n in re.findall(r"\| ([\d,]+) \| (\d+) \|", head)]
    n_tried, n_problems = map(sum, zip(*rows, strict=True))
    (row,) = (line for line in (DOCS / "accuracy.md").read_text("utf-8").splitlines() if "(faults.md)" in line)
    assert f"| {n_tried:,} trials, {n_problems or 'no'} problem" in row


def test_every_file_of_the_source_that_a_page_names_exists() -> None:
    pages = (ROOT / "README.md", ROOT / "reports" / "README.md", *DOCS.glob("*.md"))
    named = {
        name for page in pages for name in re.findall(r"\b(?:tests|audit|hooks)/[\w./]*\w", page.read_text("utf-8"))
    }
    assert len(named) > 30
    assert not [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()]
