"""The annex states what a reader outside of the team needs, of this run, in the words of the field, in both formats."""

import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from flashbulb.reports.evidence.annex import NO_ANONYMITY
from flashbulb.reports.evidence.context import read_context
from flashbulb.reports.evidence.document import Said
from flashbulb.reports.evidence.markdown import annex_markdown
from flashbulb.reports.evidence.measured import ERRORS_WITH_TRAINING_IMAGES, ERRORS_WITHOUT
from flashbulb.reports.evidence.write import annex_html
from flashbulb.reports.gate.toml_file import TomlFileError
from tests.audit.commands import run_flashbulb, run_json
from tests.paths import ROOT
from tests.reports.evidence.conftest import annex_of, plain, rows, section
from tests.reports.pages import write_illustrated
from tests.reports.runs import HOSTILE, N_PROMPTS, PROMPTS, SECRET, write_example


def test_both_formats_have_the_statement_and_every_section(leaking: Path) -> None:
    annex = annex_of(leaking)
    assert len(annex.sections) == 14
    for text in (annex_markdown(annex), annex_html(annex)):
        assert NO_ANONYMITY in text
        assert run_json(leaking)["seal"]["digest"] in text
        assert not [part.title for part in annex.sections if f". {part.title}" not in unescape(text)]


def test_a_count_never_stands_without_its_controls(leaking: Path, tmp_path: Path) -> None:
    found, controls, last = annex_of(leaking).statement
    assert re.match(r"1 distinct image was extractable with the 20 audited prompts, under the protocol", found)
    assert "recovered in the same way as far as that gave images of flagged prompts" in controls
    assert "1 gave an image as well" in controls
    assert last == NO_ANONYMITY
    nothing = annex_of(write_example(tmp_path / "run")).statement
    assert "No image was confirmed" in nothing[0]
    assert "may still extract" in nothing[0]


def test_an_untrusted_audit_states_nothing(tmp_path: Path) -> None:
    annex = annex_of(write_example(tmp_path / "run", problems=("a site did not fire",)))
    assert annex.statement[0].startswith("This audit cannot be trusted")
    assert Said("a site did not fire") in section(annex, "Limits").blocks[0].items


def test_no_image_is_called_stored_or_absent(leaking: Path) -> None:
    assert not re.search(r"\b(stored|absent|absence)\b", plain(annex_of(leaking)))


def test_rates_are_those_of_the_record(leaking: Path) -> None:
    counts, false = run_json(leaking)["counts"], run_json(leaking)["false_recovery"]
    found = rows(annex_of(leaking), "What was extractable")
    (share,) = found["Distinct images confirmed as extractable"]
    assert share.startswith(f"{counts['n_confirmed_pictures']} of {N_PROMPTS} (")
    assert "95 % interval" in share
    controls = rows(annex_of(leaking), "Negative and positive")
    assert "as far as an attempt gave an image of a flagged prompt" in plain(annex_of(leaking))
    assert any(cells[0].startswith(f"{false['n']} of {false['of']} (") for cells in controls.values())


def test_what_is_not_stated_is_not_invented(leaking: Path) -> None:
    stated = rows(annex_of(leaking, purpose="research"), "Release context")
    assert stated.pop("Purpose") == (Said("research"),)
    assert set(stated.values()) == {("not stated",)}


def test_a_context_with_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "release.toml").write_text('purpose = "research"\ncontroler = "typo"\n')
    with pytest.raises(TomlFileError, match="controler"):
        read_context(tmp_path / "release.toml")


def test_parts_that_a_run_lacks_are_said_to_be_missing(leaking: Path) -> None:
    text = plain(annex_of(leaking, changes={"power": None}))
    for sentence in ("No canaries were planted", "was not measured", "was not computed", "chosen is not recorded"):
        assert sentence in text


def test_an_inconclusive_audit_says_so_first_and_why(tmp_path: Path) -> None:
    annex = annex_of(write_example(tmp_path / "run", prompts=PROMPTS))
    assert any("inconclusive" in sentence for sentence in annex.statement)
    assert "20 prompts are too few" in plain(annex)


def test_redacted_prompts_are_in_neither_format(leaking: Path) -> None:
    shown, hidden = annex_of(leaking), annex_of(leaking, redact=True)
    for render in (annex_markdown, annex_html):
        assert SECRET in render(shown)
        assert SECRET not in render(hidden)
        assert "captions.csv, row 2" in render(hidden)


def test_images_are_named_by_the_hash_that_is_sealed(leaking: Path) -> None:
    sealed = run_json(leaking)["seal"]["files"]["images/p0/ascend-0.png"]["sha256"]
    assert sealed in annex_markdown(annex_of(leaking))
    assert sealed in annex_html(annex_of(leaking))


def test_text_of_others_is_no_markup(tmp_path: Path) -> None:
    run = write_illustrated(tmp_path / "run", prompts=[HOSTILE + str(i) for i in range(N_PROMPTS)])
    annex = annex_of(run, purpose=HOSTILE, controller="[link](http://evil.example)")
    page, markdown = annex_html(annex), annex_markdown(annex)
    assert "<script" not in page
    assert "<b>" not in page
    assert "\x1b" not in page + markdown
    assert "\u202e" not in page + markdown
    outside_of_code = re.sub(r"`[^`\n]*`", "", markdown)
    for markup in ("<script", "![x]", "](http", "@all"):
        assert markup not in outside_of_code


def test_measured_figures_are_those_of_the_documents() -> None:
    """A figure of the annex stands in the document that it names."""
    for sentence in (*ERRORS_WITH_TRAINING_IMAGES, *ERRORS_WITHOUT):
        (name,) = re.findall(r"docs/[a-z-]+\.md", sentence)
        document = " ".join((ROOT / name).read_text(encoding="utf-8").split())
        figures = re.findall(r"\d+\.\d+|\d+ of \d+|a quarter", sentence)
        assert figures
        assert not [figure for figure in figures if figure not in document]


def test_report_writes_the_annex_beside_the_page_and_an_untrusted_run_has_none(leaking: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(leaking, tmp_path / "run"))
    answer = run_flashbulb("report", run, "--evidence")
    assert answer.out.split() == [str(run / name) for name in ("report.html", "evidence.html", "evidence.md")]
    assert run_flashbulb("verify", run).code == 0
    assert run_flashbulb("report", run, "--context", "release.toml").code == 2
    (run / "images" / "p0" / "seed-0.png").write_bytes(b"another image")
    assert run_flashbulb("report", run, "--evidence").code == 3
    assert not {"report.html", "evidence.html", "evidence.md"} & {path.name for path in run.iterdir()}
