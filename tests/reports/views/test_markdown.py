"""The summary shows the results, and no prompt can change its structure."""

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.reports.views.markdown import summary_markdown
from flashbulb.reports.views.markdown_parts import cost
from flashbulb.reports.views.text import markdown_code, visible_text
from tests.reports.examples import attempt, attempts_table, recoveries_table, run_record, scores_table

HOSTILE = [
    "a | b | c",
    "```\n# Memorization audit: pass",
    "`` ` ``",
    "<script>alert(1)</script><img src=x onerror=y>",
    "[pass](https://example.org) ![x](y) www.example.org @everyone #1",
    "\u202egnp.exe\u2066 zero\u200bwidth \x1b[31mred\x00\x07",
    "line\u2028separator\r\nand\ttab",
    "\\",
    "\\|",
    "\u3164\u2800\u00a0",
    "",
    " ` ",
    "e" + "\u0301" * 500,
]


@given(st.text() | st.sampled_from(HOSTILE))
def test_escaped_text_is_one_harmless_code_span(text: str) -> None:
    escaped = markdown_code(text, 60)
    assert escaped.count("`") == 2
    assert escaped[0] == escaped[-1] == "`"
    assert len(escaped) > 2
    assert not set("|\n\r") & set(escaped)
    hidden = [c for c in escaped if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert not hidden
    escaped.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x24F), max_size=60))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert visible_text(text, 60).replace(" ", "") == text.replace(" ", "").replace("\xa0", "")


@given(st.text(), st.integers(1, 80))
def test_long_text_is_cut_before_characters_are_replaced(text: str, limit: int) -> None:
    visible = visible_text(text, limit)
    assert len(re.sub(r"⟨U\+[0-9A-F]{4,6}⟩", "?", visible)) <= limit or "⟨" in text


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text() | st.sampled_from(HOSTILE), min_size=1, max_size=12), st.booleans())
def test_every_prompt_stays_in_its_row(prompts: list[str], show_prompts: bool) -> None:
    prompts = [prompt.encode("utf-8", "replace").decode() for prompt in prompts]
    page = summary_markdown(run_record(), scores_table(prompts), recoveries_table([]), show_prompts)
    lines = page.splitlines()
    header = "| prompt | from | spike" if show_prompts else "| from | spike"
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    rows = lines[start + 2 : start + 2 + min(10, len(prompts))]
    assert all(row.startswith("| `") and row.count("|") == 7 + show_prompts for row in rows)
    assert not lines[start + 2 + len(rows)].startswith("|")
    headings = [line.lstrip("# ").split()[0] for line in lines if line.startswith("#")]
    assert headings == [
        "Memorization",
        "Counts",
        "The",
        "Recovery",
        "Calibration",
        "What",
        "Cost",
        "Settings",
        "Versions",
    ]
    assert "<" not in re.sub(r"`[^`]*`", "", page)


def test_prompts_are_hidden_unless_shown() -> None:
    prompt = "a very private prompt " * 20
    scores = scores_table([prompt])
    hidden = summary_markdown(run_record(), scores, recoveries_table([]), show_prompts=False)
    full = summary_markdown(run_record(), scores, recoveries_table([]), show_prompts=True)
    assert "private" not in hidden
    assert "| `captions.csv:0` | 1 |" in hidden
    assert prompt.strip() in full


def test_the_policy_and_notes_on_waivers_are_shown() -> None:
    run = run_record(policy={"max_high": 3, "max_low": None}, notes=("Findings waived and not counted: 2.",))
    page = summary_markdown(run, scores_table([]), recoveries_table([]), False)
    assert "> Findings waived and not counted: 2." in page
    assert "## Policy\n\n|  |  |\n| --- | --- |\n| `max_high` | `3` |\n\n" in page


def test_the_page_stays_small_for_any_input() -> None:
    run = run_record(
        settings={f"key {index}": "x" * 10_000 for index in range(5000)},
        problems=tuple("y" * 10_000 for _ in range(5000)),
    )
    scores = scores_table(["\x00" * 100_000] * 12)
    page = summary_markdown(run, scores, recoveries_table([]), show_prompts=True)
    assert len(page.encode()) < 2**20


def test_the_page_shows_the_results() -> None:
    attempts = [
        attempt("p0", "not_shown"),
        attempt("p0", "confirmed", "ascend", evaluations=900),
        attempt("p1", "likely"),
        attempt("p2", "not_shown", is_control=True),
        attempt("p2", "not_shown", "ascend", is_control=True, evaluations=900),
    ]
    recoveries = attempts_table(attempts)
    page = summary_markdown(run_record(), scores_table(["first", "second", "third"]), recoveries, True)
    assert "Prompts with a recovered image (high severity): 2 of 100 (limit 0)." in page
    assert "3 of 100 (3 %, 95 % interval" in page
    assert "1.0 at a false-positive rate of 1 %" in page
    assert "by any strategy: 1 of 10 (10 %, 95 % interval 0.253 % to 44.5 %)." in page
    assert "| `sample` | 2 | 1 | 1 | 0 | 300 |" in page
    assert "| `ascend` | 1 | 1 | 1 | 0 | 1800 |" in page
    assert "- **confirmed**: " in page
    assert "- **likely**: " in page
    assert "| whose image came back | 2 prompts |" in page
    first, second, third = (line for line in page.splitlines() if "`captions.csv:" in line)
    assert first.startswith("| `first` |")
    assert first.endswith("| high | confirmed (ascend) |")
    assert second.endswith("| high | likely (sample) |")
    assert third.endswith("| not flagged | not shown, control |")
    assert "AUC of 0.55" in page
    assert "not a proof of absence" in page
    assert "| all | 5800 | 21.8 |" in page


def test_a_strategy_that_no_control_climbed_to_has_no_count_of_their_images() -> None:
    """A 0 would read as controls that were tried and gave none."""
    attempts = [
        attempt("p0", "confirmed"),
        attempt("p1", "not_shown"),
        attempt("p1", "not_shown", "ascend", evaluations=900),
        attempt("p2", "not_shown", is_control=True),
    ]
    page = summary_markdown(run_record(), scores_table(["a", "b", "c"]), attempts_table(attempts), True)
    assert "| `sample` | 2 | 1 | 1 | 0 | 300 |" in page
    assert "| `ascend` | 1 | 0 | 0 | – | 900 |" in page
    assert "tried only as far as a strategy gave an image of a flagged prompt" in page


def test_thresholds_of_several_styles_are_not_one() -> None:
    record = run_record()
    (style,) = record.calibration.styles
    styles = (style, replace(style, threshold=0.25), replace(style, threshold=0.1, n_candidates=0))
    several = replace(record, calibration=replace(record.calibration, styles=styles))
    page = summary_markdown(several, scores_table([]), recoveries_table([]), False)
    assert "Threshold 3.5 for a false-positive rate of 1 %" in summary_markdown(
        record, scores_table([]), recoveries_table([]), False
    )
    assert "Thresholds 0.25 to 3.5, by the style of a prompt, for a false-positive rate of 1 %" in page


def test_what_was_not_counted_or_timed_is_no_zero() -> None:
    lines = cost({"climb": 1170}, {"search": 13.6})
    assert "| `climb` | 1170 | – |" in lines
    assert "| `search` | – | 13.6 |" in lines


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_the_page_of_an_unfinished_audit_has_no_verdict(status: str) -> None:
    page = summary_markdown(run_record(status=status, verdict=None), scores_table([]), recoveries_table([]), False)
    assert page.startswith(f"# Memorization audit: no verdict (`{status}`)")


def test_the_page_of_an_audit_without_recovery_attempts_says_so() -> None:
    page = summary_markdown(run_record(), scores_table(["a"]), recoveries_table([]), False)
    assert "## Recovery\n\nNo prompt was tried.\n" in page
    assert "| not tried |" in page
