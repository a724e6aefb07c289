"""A format is one row: the row is an option of the gate and, if it names files, a part of every audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashbulb.audit.cli import options
from flashbulb.reports.gate import outputs
from flashbulb.reports.gate.formats import OUTPUT_FORMATS, Judgement, OutputFormat
from flashbulb.reports.gate.judgement import untrusted_report
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.tables.files import VERDICT_FILES


def write_plain(path: Path, judgement: Judgement) -> None:
    path.write_text(judgement.report.verdict.outcome, encoding="utf-8")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> OutputFormat:
    form = OutputFormat("plain_text", "File to write the outcome to.", write_plain, ("outcome.txt",))
    for module in (outputs, options):
        monkeypatch.setattr(module, "OUTPUT_FORMATS", (*OUTPUT_FORMATS, form))
    return form


def test_row_is_an_option_of_the_gate(plain: OutputFormat) -> None:
    *_, added = options.format_options()
    assert added.parameter.name == "plain_text"
    assert added.parameter.default.help == "File to write the outcome to."
    assert outputs.requested_outputs({"plain_text": Path("x"), "junit": None}) == [(Path("x"), plain)]


def test_row_with_files_is_written_by_every_audit(plain: OutputFormat, tmp_path: Path) -> None:
    written = [output for output in outputs.audit_outputs(tmp_path) if output.format is plain]
    outputs.write_outputs(written, Judgement(untrusted_report("broken", Policy()), None, show_prompts=False))
    assert (tmp_path / "outcome.txt").read_text(encoding="utf-8") == "untrusted"


def test_files_of_an_audit_state_its_verdict_and_may_be_replaced() -> None:
    assert {name for form in OUTPUT_FORMATS for name in form.audit_files} <= set(VERDICT_FILES)
