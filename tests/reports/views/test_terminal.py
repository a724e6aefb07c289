"""The terminal shows the results, and untrusted text cannot move the cursor, change colours or become markup."""

import io
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flashbulb.reports.tables.run_record import RunRecord
from flashbulb.reports.views.terminal import SummaryConsole, print_sites, print_summary, silent
from tests.reports.examples import attempt, attempts_table, run_record, scores_table, spikes_table

HOSTILE = [
    "[red]red[/red] [/] \\[bold] [link=https://example.org]here[/link]",
    "\x1b[31mred\x1b[0m \x07\r\n\t\x9b2J",
    "x" * 10_000,
    "\u202eright to left\u2066\u200f",
    ":fire: \\",
]


def shown(prompts: list[str], *, width: int = 140, color: bool = False, **changes: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="standard" if color else None)
    run = changes.pop("run", None) or run_record(**changes)
    recoveries = attempts_table(
        [attempt("p0", "not_shown"), attempt("p0", "confirmed", "ascend"), attempt("p1", "not_shown")],
    )
    print_summary(console, run, Path("runs/[red]mine"), scores_table(prompts), spikes_table(), recoveries, ())
    return out.getvalue()


def test_the_summary_shows_the_verdict_counts_and_spiking_sites() -> None:
    text = shown(["a red star", "the sea", "a hill"])
    assert "FAIL: a limit of the policy is exceeded" in text
    assert "100 scored, 2 empty, 1 cut by tokenizer" in text
    assert re.search(r"false recoveries +1 of 10 \(10 %, 95 % interval 0\.253 % to 44\.5 %\)", text)
    assert "2 prompts (by sample 1, ascend 1)" in text
    assert re.search(r"a red star +3\.00 +0\.01 +confirmed \(ascend\)", text)
    assert re.search(r"a hill +1\.00 \(below\) +0\.01 +not tried", text)
    assert "Read runs/[red]mine/report.html" in text


@pytest.mark.parametrize("prompt", HOSTILE)
def test_hostile_prompts_are_shown_as_plain_text(prompt: str) -> None:
    text = shown([prompt, "the sea"])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200f\u202a-\u202e\u2066-\u2069]", text)
    assert len(text.splitlines()) == len(shown(["a red star", "the sea"]).splitlines())
    assert "the sea" in text


def test_markup_and_emoji_codes_stay_text() -> None:
    text = shown(["[red]red[/red] :fire:", "the sea"])
    assert "[red]red[/red] :fire:" in text
    model = replace(run_record().model, name="[bold]model[/bold] \x1b]0;title\x07")
    assert "[bold]model[/bold] ⟨U+001B⟩]0;title⟨U+0007⟩" in shown(["a"], run=replace(run_record(), model=model))


def test_markup_in_reasons_stays_text() -> None:
    text = shown(["a"], problems=("site [red]ff[/red] did not fire",))
    assert "NOT TO BE TRUSTED" in text
    assert "site [red]ff[/red] did not fire" in text


def test_prompts_cannot_colour_a_terminal_that_has_colours() -> None:
    plain, hostile = (shown([prompt, "the sea"], color=True) for prompt in ("a" * 20, "[red]aaaa[/red] \x1b[31m"))
    assert re.findall(r"\x1b\[[\d;]*m", hostile) == re.findall(r"\x1b\[[\d;]*m", plain)


@pytest.mark.parametrize("width", [20, 80, 300])
def test_lines_fit_any_width(width: int) -> None:
    assert max(map(len, shown(HOSTILE[:3], width=width).splitlines()[:-1])) <= width


def test_a_run_without_prompts_and_verdict_is_shown() -> None:
    run: RunRecord = run_record(verdict=None)
    assert "The most suspicious prompts" not in shown([], run=run)


def test_sites_are_listed_with_totals() -> None:
    out = io.StringIO()
    sites = [("cross_k", "unet.mid.[red]", "output", 64), ("cross_k", "unet.up", "output", 32), ("ff", "x", "input", 8)]
    print_sites(Console(file=out, width=100), sites)
    assert "unet.mid.[red]" in out.getvalue()
    assert "cross_k: 2 sites, 96 neurons" in out.getvalue()
    assert "ff: 1 sites, 8 neurons" in out.getvalue()


def test_a_silent_block_silences_its_own_thread_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with silent():
        SummaryConsole().print("here")
        other = threading.Thread(target=lambda: SummaryConsole().print("there"))
        other.start()
        other.join()
    SummaryConsole().print("after")
    assert capsys.readouterr().out.split() == ["there", "after"]
