"""The annex states what a reader outside of the team needs, of this run, in the words of the field, in both formats."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from html import unescape
from pathlib import Path
from types import MappingProxyType
from typing import Any

import html5lib
import pytest

from flashbulb.reports.bounds.epsilon import epsilon_bound
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.checks.run import load_checked
from flashbulb.reports.evidence.annex import NO_ANONYMITY, build_annex
from flashbulb.reports.evidence.attacks import attacks_of
from flashbulb.reports.evidence.context import ReleaseContext, read_context
from flashbulb.reports.evidence.document import Annex, Said, Section, Table
from flashbulb.reports.evidence.markdown import annex_markdown
from flashbulb.reports.evidence.measured import ERRORS_WITH_TRAINING_IMAGES, ERRORS_WITHOUT
from flashbulb.reports.evidence.write import annex_html
from flashbulb.reports.gate.judgement import judge
from flashbulb.reports.gate.policy import Policy
from flashbulb.reports.gate.toml_file import TomlFileError
from flashbulb.reports.page.labels import Labels
from flashbulb.reports.tables.frame import Frame, frame_sentence
from flashbulb.reports.tables.propensity import Propensity
from tests.audit.commands import run_flashbulb, run_json
from tests.paths import ROOT
from tests.reports.canary_examples import CANARIES
from tests.reports.pages import write_illustrated
from tests.reports.runs import HOSTILE, N_PROMPTS, PROMPTS, SECRET, write_example

TODAY = date(2026, 6, 1)
DRAWN = Frame("random", N_PROMPTS, 500, 900, 7, "0" * 64)
CENSUS = Frame("census", N_PROMPTS, N_PROMPTS, N_PROMPTS, None, "0" * 64)
TARGETED = Frame("targeted", N_PROMPTS, N_PROMPTS, None, None, "0" * 64)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two recovered images; tests must not change it."""
    return write_illustrated(tmp_path_factory.mktemp("leaking") / "run")


def annex_of(
    run: Path, *, redact: bool = False, changes: Mapping[str, Any] = MappingProxyType({}), **stated: str
) -> Annex:
    """Return the annex of a run, after `changes` of its record."""
    checked = load_checked(run)
    checked = checked._replace(record=replace(checked.record, **changes))
    report = judge(checked, Policy(), (), None, new_only=False, today=TODAY)
    labels = Labels(redact, run / "evidence.html")
    return build_annex(checked, report, ReleaseContext(**stated), {"dtype": "float32"}, labels, TODAY)


def section(annex: Annex, title: str) -> Section:
    (found,) = (section for section in annex.sections if section.title.startswith(title))
    return found


def rows(annex: Annex, title: str) -> dict[Any, tuple[Any, ...]]:
    """Rows of all tables of a section by their first cell."""
    tables = (block for block in section(annex, title).blocks if isinstance(block, Table))
    return {row[0]: row[1:] for table in tables for row in table.rows}


def plain(annex: Annex) -> str:
    """All text of the page, with single blanks."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(annex_html(annex))
    return " ".join(" ".join(tree.find("body").itertext()).split())


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


def test_every_attack_is_run_or_has_a_reason_and_none_is_claimed_that_was_not_run(leaking: Path) -> None:
    run = load_checked(leaking)
    attacks = {attack.name: attack for attack in attacks_of(run)}
    assert all(len(attack.account) > 10 for attack in attacks.values())
    assert {name for name, attack in attacks.items() if attack.status == "run"} == {
        "Screening of every prompt by neurons",
        "Prompting with the audited captions, several seeds each",
        "Gradient ascent on the prompt's embeddings",
    }
    assert attacks["Extrapolation from the base model through the fine-tune"].status == "not applicable"
    assert {"Membership inference", "Adversarial initial noise (x_T)"} <= attacks.keys()


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({}, "not applicable", "No training images were given."),
        ({"train_images": "images"}, "not run", "Not among the strategies of this audit."),
        ({"train_images": "images", "strategies": ["known_image"]}, "not run", "an earlier strategy settled"),
    ],
)
def test_the_reason_that_an_attack_was_not_run_follows_the_settings(
    leaking: Path, settings: dict[str, Any], status: str, reason: str
) -> None:
    run = load_checked(leaking)
    changed = run._replace(record=replace(run.record, settings=settings))
    attacks = {attack.name: attack for attack in attacks_of(changed)}
    inversion = attacks["Inversion of a known training image"]
    assert inversion.status == status
    assert reason in inversion.account


def test_an_attack_that_ran_on_controls_alone_is_not_claimed(tmp_path: Path) -> None:
    run = load_checked(write_example(tmp_path / "run", {0: "high"}, likely=frozenset({0})))
    rows = run.tables.recoveries.to_pylist()
    control = next(row for row in rows if row["is_control"])
    climbed = run.tables.recoveries.from_pylist(
        [*rows, {**control, "strategy": "ascend"}], run.tables.recoveries.schema
    )
    changed = run._replace(tables=replace(run.tables, recoveries=climbed))
    ascent = {attack.name: attack for attack in attacks_of(changed)}["Gradient ascent on the prompt's embeddings"]
    assert ascent.status == "not run"
    assert "It ran on 1 control" in ascent.account


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


@pytest.mark.parametrize("frame", [DRAWN, CENSUS, TARGETED])
def test_the_frame_is_said_in_the_words_of_every_report(leaking: Path, frame: Frame) -> None:
    annex = annex_of(leaking, changes={"frame": frame})
    assert section(annex, "Sampling frame").blocks[0] == frame_sentence(frame)
    assert rows(annex, "Sampling frame").get("Seed of the draw") == (None if frame.seed is None else (str(frame.seed),))


def test_of_prompts_chosen_on_suspicion_no_share_is_stated(leaking: Path) -> None:
    assert "At 95 % confidence" in plain(annex_of(leaking, changes={"frame": DRAWN}))
    annex = annex_of(leaking, changes={"frame": TARGETED})
    assert rows(annex, "What was extractable")["Distinct images confirmed as extractable"] == (f"1 of {N_PROMPTS}",)
    power = section(annex, "Power").blocks[0].items
    assert "The prompts were chosen on suspicion, so no bound on a share follows." in power
    assert not [sentence for sentence in power if "95 % confidence" in sentence]


def test_capability_and_propensity_stand_apart(leaking: Path) -> None:
    ordinary = Propensity("reference", 400, "training_images", rate_of(1, 200), 1, rate_of(0, 200))
    annex = annex_of(leaking, changes={"propensity": ordinary})
    found = rows(annex, "What was extractable")
    assert found["Ordinary prompts whose only sample copies a training image"] == (
        "1 of 200 (0.5 %, 95 % interval 0.0127 % to 2.75 %)",
    )
    use = rows(annex, "Attacks run")["Ordinary use: prompts sampled once each"]
    assert use[1] == "run"
    assert use[2].startswith("1 of 200 reference prompts, sampled once, copy a training image")


def test_canaries_are_the_positive_control_of_the_model_itself(leaking: Path) -> None:
    planted = replace(CANARIES, privacy=epsilon_bound(60, 30, 24, 1e-5, 0.95))
    annex = annex_of(leaking, changes={"canaries": planted})
    assert "of the 30 canaries whose image is among their plain samples, the audit found 28" in plain(annex)
    assert "24 of 30 guesses were right" in plain(annex)
    assert "No canaries were planted" not in plain(annex)


def test_canaries_that_show_nothing_are_said_to_have_been_planted(leaking: Path) -> None:
    annex = annex_of(
        leaking, changes={"canaries": replace(CANARIES, refused="The model never saw them.", sensitivity=None)}
    )
    assert "The model never saw them." in plain(annex)
    assert "No canaries were planted" not in plain(annex)


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
