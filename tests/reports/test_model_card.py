"""The hub's own library reads the card, and other people's words stay words."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from reports.check import CheckedRun
from reports.gate import GateReport
from reports.gate_markdown import gate_markdown, write_summary
from reports.model_card import model_card
from reports.run_record import ModelIdentity
from reports.step_summary import append_step_summary
from tests.reports.reports_examples import REPORTS, hostile, judged
from tests.reports.runs import HOSTILE, LEAKS, SECRET, checked_example

WORDS = {"pass": "passed", "fail": "did not pass", "untrusted": "could not be trusted"}
HEADLINES = {"pass": "pass", "fail": "gate failed", "untrusted": "not to be trusted"}


def kinds(markdown: str) -> set[str]:
    """Kinds of the tokens that a CommonMark reader with tables and bare links sees."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    return {token.type for block in tokens for token in [block, *(block.children or [])]}


def harmless(markdown: str) -> bool:
    return not kinds(markdown) & {"html_block", "html_inline", "link_open", "image"}


@pytest.mark.parametrize("options", [{}, {"severities": LEAKS}, {"severities": LEAKS, "n_false": 8}])
def test_the_hub_reads_what_was_found(tmp_path: Path, options: dict) -> None:
    run = checked_example(tmp_path, **options)
    report = judged(run)
    card = ModelCard(model_card(report, run))
    results = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert results == {
        "memorized_pictures_confirmed": run.results.n_confirmed_pictures,
        "prompts_with_recovered_picture": run.results.n_recovered,
        "prompts_flagged": run.results.n_flagged,
        "prompts_audited": run.results.n_scored,
    }
    assert card.data.model_name == "toy"
    assert {result.task_type for result in card.data.eval_results or []} == {"text-to-image"}
    assert f"The audit **{WORDS[report.verdict.outcome]}** its gate." in card.text
    assert "table_open" in kinds(card.text)
    assert harmless(card.text)


def test_waived_findings_are_still_stated(tmp_path: Path) -> None:
    run = checked_example(tmp_path, LEAKS)
    card = model_card(judged(run, waive=2), run)
    assert "| findings waived | 2 |" in card
    assert "| distinct memorized pictures confirmed | 2 |" in card


def test_hostile_names_stay_words(tmp_path: Path) -> None:
    inputs = {"prompts": {"source": f"data/{HOSTILE.replace('/', '')}", "sha256": "4567"}}
    run = checked_example(tmp_path, LEAKS, inputs=inputs, model=ModelIdentity(HOSTILE, HOSTILE))
    card = ModelCard(model_card(judged(run), run))
    assert card.data.eval_results
    assert harmless(card.text)
    assert SECRET not in str(card)


@pytest.mark.parametrize("name", REPORTS)
def test_the_summary_states_the_verdict_and_hides_prompts(tmp_path: Path, name: str) -> None:
    report = REPORTS[name](tmp_path / "run")
    page = gate_markdown(report, False)
    assert page.startswith(f"# Memorization gate: {HEADLINES[report.verdict.outcome]}\n")
    assert f"Exit code {report.verdict.exit_code}." in page
    assert harmless(page)
    assert SECRET not in page
    for one in report.judged:
        assert one.finding.fingerprint in page


def test_prompts_that_are_shown_stay_words(tmp_path: Path) -> None:
    page = gate_markdown(hostile(tmp_path), True)
    assert "alert(1)" in page
    assert harmless(page)


N_MANY = 10_000


def many(tmp_path: Path) -> tuple[GateReport, CheckedRun]:
    """A report of 10,000 findings whose prompts have 10,000 characters each."""
    words = "🦊|`\x00" * 2499
    prompts = [f"{index:04d}{words}" for index in range(N_MANY)]
    run = checked_example(tmp_path, dict.fromkeys(range(N_MANY), "high"), prompts=prompts, source_file="🦊" * 500)
    return judged(run, waive=2000), run


def test_the_summary_stays_below_what_ci_shows(tmp_path: Path) -> None:
    report, run = many(tmp_path / "run")
    write_summary(tmp_path / "summary.md", report, True)
    assert (tmp_path / "summary.md").stat().st_size < 2**20
    assert "7900 more are left out here." in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert len(model_card(report, run).encode()) < 2**16


def test_the_step_summary_is_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step.md"
    path.write_text("# Before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    append_step_summary("# After\n")
    assert path.read_text(encoding="utf-8") == "# Before\n\n# After\n"
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    append_step_summary("# Again\n")
    assert path.read_text(encoding="utf-8") == "# Before\n\n# After\n"
