"""The commands that an audit proposes run as they are printed, one after the other, and do what their sentences say."""

import csv
import html
import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flashbulb.audit.recover.outcome import judge_found
from tests.audit.commands import ODD, QUICK, Answer, run_flashbulb
from tests.reports.runs import LEAKS, write_example
from tests.toy import build_toy_pipe


def judge_likely(*args: Any, **kwargs: Any) -> Any:
    """Judge as usual, but return the verdict `likely`."""
    return replace(judge_found(*args, **kwargs), verdict="likely", confidence=0.6)


COMMAND = re.compile(r'<div class="command"><pre><code>(flashbulb .*?)</code>')


def on_page(page: Path) -> list[str]:
    """The commands of the page's next steps; the last two of a page are how it was audited, and how to do so again."""
    *found, command, again = (html.unescape(text) for text in COMMAND.findall(without_spans(page)))
    assert command.startswith("flashbulb audit --model ")
    assert again.startswith("flashbulb audit --replay ")
    return found


def without_spans(page: Path) -> str:
    """The text of a page, whose commands have a span around each word."""
    return re.sub("</?span>", "", page.read_text(encoding="utf-8"))


def on_terminal(out: str) -> list[str]:
    return [line.strip() for line in out.splitlines() if line.startswith("     flashbulb ")]


def paste(command: str, code: int = 0) -> Answer:
    """Run a command line as a shell splits it."""
    program, *words = shlex.split(command)
    assert program == "flashbulb"
    answer = run_flashbulb(*words)
    assert answer.code == code, answer
    return answer


@pytest.fixture
def place(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the run directory `run`, as the current directory."""
    monkeypatch.chdir(copied.parent)
    return copied.parent


def test_the_steps_after_a_leak_run_as_printed_one_after_the_other(finished: Any, place: Path) -> None:
    gate = run_flashbulb("gate", "run")
    assert gate.code == 1
    audit_again, diff, waive = commands = on_terminal(gate.out)
    assert on_page(Path("run/report.html")) == commands
    document = json.loads(run_flashbulb("gate", "run", "--json").out)
    assert [command for step in document["next_steps"] for command in step["commands"]] == commands

    with Path("run/to_remove.csv").open(encoding="utf-8", newline="") as file:
        (removed,) = csv.DictReader(file)
    assert Path(removed["image"]).name == "secret.png"
    assert (finished.run.parent / "training" / removed["image"]).is_file()

    build_toy_pipe(seed=1).save_pretrained("NEW_MODEL")  # trained without that image
    paste(audit_again)
    assert on_terminal(run_flashbulb("gate", "run-retrained").out) != commands
    answer = paste(diff)
    assert removed["caption_rows"] == "prompts.txt:5"
    assert re.search(r"^better \(1\):\n  \S+  prompts\.txt, row 5: .*no image was recovered", answer.out, re.MULTILINE)

    assert "is waived by WHO until" in paste(waive).out
    assert "Findings waived and not counted: 1." in run_flashbulb("gate", "run", "--waivers", "waivers.toml").out


def test_without_training_images_the_origin_is_found_as_printed(
    inputs: Any, finished: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.run.parent / "training", "FOLDER")
    files = ("--model", inputs.model, "--prompts", inputs.prompts, "--reference", inputs.reference)
    with monkeypatch.context() as patch:  # samples of a toy model are too unlike for a verdict
        patch.setattr("flashbulb.audit.recover.climbing.judge_found", judge_likely)
        assert run_flashbulb("audit", *files, *QUICK, "--out", "alone").code == 0
    trace, *_ = commands = on_terminal(run_flashbulb("gate", "alone").out)
    assert on_page(Path("alone/report.html")) == commands
    assert "secret.png" not in Path("alone/to_remove.csv").read_text(encoding="utf-8")
    paste(trace)
    assert "secret.png" in Path("alone-traced/to_remove.csv").read_text(encoding="utf-8")


def test_a_spike_without_an_image_is_shown_as_printed(inputs: Any, place: Path) -> None:
    assert run_flashbulb("audit", *inputs.options(place / "my run")).code == 0
    show, waive = commands = on_terminal(run_flashbulb("gate", "my run").out)
    assert show == "flashbulb show 'my run' 1"
    assert on_page(Path("my run/report.html")) == commands
    assert ODD in paste(show).out
    (again,) = re.findall(r"<code>(flashbulb audit --replay .*?)</code>", without_spans(Path("my run/report.html")))
    paste(html.unescape(again))
    assert run_flashbulb("diff", "my run", "my run-again").out.startswith("0 new, 0 worse, 0 better")
    assert "is waived by WHO until" in paste(waive).out


def test_after_a_pass_the_next_checkpoint_is_compared_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_example(Path("run"))
    write_example(Path("NEXT_RUN"), LEAKS)
    gate = run_flashbulb("gate", "run")
    assert gate.out.startswith("pass: ")
    show, keep = on_terminal(gate.out)
    paste(show)
    assert keep == "flashbulb gate NEXT_RUN --baseline run --new-only"
    assert "breaks the policy (2)" in paste(keep, code=1).out
