"""huggingface_hub reads the card, and untrusted text never becomes markup."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from flashbulb.reports.checks.run import CheckedRun
from flashbulb.reports.gate.judgement import GateReport
from flashbulb.reports.gate.markdown import gate_markdown, write_summary
from flashbulb.reports.gate.model_card import model_card
from flashbulb.reports.gate.outputs import append_step_summary
from flashbulb.reports.tables.run_record import ModelIdentity
from tests.reports.examples import run_record
from tests.reports.reports_examples import REPORTS, hostile, judged
from tests.reports.runs import HOSTILE, LEAKS, SECRET, checked_example

OUTCOMES = {
    "pass": "The audit **passed** its gate.",
    "inconclusive": "The audit is **inconclusive**: its gate found nothing above the limits, but it could have missed "
    "too much to pass.",
    "fail": "The audit **did not pass** its gate.",
    "untrusted": "The audit **cannot be trusted**, so its gate gives no result.",
}
HEADLINES = {
    "pass": "pass",
    "inconclusive": "inconclusive",
    "fail": "gate failed",
    "untrusted": "not to be trusted",
}


def kinds(markdown: str) -> set[str]:
    """Kinds of the tokens that a CommonMark parser with tables and raw HTML sees."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    return {token.type for block in tokens for token in [block, *(block.children or [])]}


def harmless(markdown: str) -> bool:
    return not kinds(markdown) & {"html_block", "html_inline", "link_open", "image"}


@pytest.mark.parametrize("options", [{}, {"severities": LEAKS}, {"severities": LEAKS, "n_false": 8}])
def test_the_hub_reads_the_counts(tmp_path: Path, options: dict) -> None:
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
    assert OUTCOMES[report.verdict.outcome] in card.text
    assert "table_open" in kinds(card.text)
    assert harmless(card.text)


def test_waived_findings_are_still_stated(tmp_path: Path) -> None:
    run = checked_example(tmp_path, LEAKS)
    card = model_card(judged(run, waive=2), run)
    assert "| findings waived | 2 |" in card
    assert "| distinct memorized images confirmed | 2 |" in card


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    prompts = {"source": f"data/{HOSTILE.replace('/', '')}", "sha256": "4567"}
    inputs = {**run_record().inputs, "prompts": prompts}
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
    for judged_finding in report.judged:
        assert judged_finding.finding.fingerprint in page


def test_shown_prompts_stay_text(tmp_path: Path) -> None:
    page = gate_markdown(hostile(tmp_path), True)
    assert "alert(1)" in page
    assert harmless(page)


N_MANY = 5_000


def many(tmp_path: Path) -> tuple[GateReport, CheckedRun]:
    """A report of 5,000 findings whose prompts are longer than any page shows them."""
    text = "🦊|`\x00" * 499
    prompts = [f"{index:04d}{text}" for index in range(N_MANY)]
    run = checked_example(tmp_path, dict.fromkeys(range(N_MANY), "high"), prompts=prompts, source_file="🦊" * 500)
    return judged(run, waive=1000), run


def test_the_summary_stays_below_the_limit_of_ci_services(tmp_path: Path) -> None:
    report, run = many(tmp_path / "run")
    write_summary(tmp_path / "summary.md", report, True)
    assert (tmp_path / "summary.md").stat().st_size < 2**20
    assert "3900 more are not listed here." in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert len(model_card(report, run).encode()) < 2**16


def test_pages_are_appended_to_the_step_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step.md"
    path.write_text("# Before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    append_step_summary("# After\n")
    assert path.read_text(encoding="utf-8") == "# Before\n\n# After\n"
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    append_step_summary("# Again\n")
    assert path.read_text(encoding="utf-8") == "# Before\n\n# After\n"
