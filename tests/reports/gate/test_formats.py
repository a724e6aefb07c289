"""A format is one row: the row is an option of the gate and, if it names files, a part of every audit."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashbulb.audit.cli.shell import options
from flashbulb.reports.gate import outputs
from flashbulb.reports.gate.formats import OUTPUT_FORMATS, Judgement, OutputFormat
from flashbulb.reports.gate.judgement import judge, untrusted_report
from flashbulb.reports.gate.markdown import gate_markdown
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.terminal import gate_lines
from flashbulb.reports.gate.waivers import Waiver
from flashbulb.reports.tables.files import REMOVAL_FILE, VERDICT_FILES
from flashbulb.reports.tables.run_record import ModelIdentity
from tests.reports.runs import LEAKS, PROMPTS, checked_example

TODAY = date(2026, 6, 15)


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
    assert {name for form in OUTPUT_FORMATS for name in form.audit_files} <= {*VERDICT_FILES, REMOVAL_FILE}


HIDDEN = [*map(chr, (*range(32), *range(0x7F, 0xA0), 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F)))]
HIDDEN += [*map(chr, range(0x2066, 0x206A)), "\ufeff", "\ufffe", "\uffff", "\U000e0041"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.one_of(st.sampled_from(HIDDEN), st.characters(exclude_categories=["Cs"])), max_size=40))
def test_no_output_holds_a_hidden_character(tmp_path: Path, text: list[str]) -> None:
    """Prompts are shown; lines end only where the output means them to, so one finding stays one line."""
    hostile = "".join((*text, *HIDDEN))
    changes = {"model": ModelIdentity(hostile, hostile), "versions": {"flashbulb": hostile}}
    run = checked_example(tmp_path / "run", LEAKS, prompts=[hostile, *PROMPTS[1:]], source_file=hostile, **changes)
    waiver = Waiver(fingerprint=run.findings[0].fingerprint, reason=f"x{hostile}", owner=f"x{hostile}", expires=TODAY)
    report = judge(run, Policy(), [waiver], None, new_only=False, today=TODAY)
    written = {"terminal": "\n".join(gate_lines(report, True, "RUN")), "summary": gate_markdown(report, True)}
    for form in OUTPUT_FORMATS:
        if form.name != "findings":
            form.write(tmp_path / form.name, Judgement(report, run, show_prompts=True))
            written[form.name] = (tmp_path / form.name).read_bytes().decode()
    findings = next(form for form in OUTPUT_FORMATS if form.name == "findings")
    findings.write(tmp_path / "findings.jsonl", Judgement(report, run, show_prompts=True))
    written["findings"] = (tmp_path / "findings.jsonl").read_bytes().decode()
    for name, output in written.items():
        assert not {c for c in output if not c.isprintable()} - {"\n"}, name
    assert len(written["findings"].splitlines()) == len(LEAKS)
