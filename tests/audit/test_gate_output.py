"""Where standard output is a terminal, a closed pipe or a full disk, and where the day is another."""

import os
import pty
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.audit.commands import ROOT, engram, start
from tests.audit.test_gate_command import RUNS, refused, waiver
from tests.reports.runs import LEAKS, write_example

COLOURS = {"pass": "32", "fail": "31", "untrusted": "33"}


def on_a_terminal(*arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code and output of a command whose standard output is a terminal of 40 columns."""
    ours, theirs = pty.openpty()
    given = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "40", **environment}
    words = [sys.executable, "-m", "audit", *map(str, arguments)]
    process = subprocess.Popen(words, cwd=ROOT, env=given, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += (piece := os.read(ours, 65536))
        except OSError:  # the other end is closed
            break
        if not piece:
            break
    os.close(ours)
    process.communicate()
    return process.returncode, said.decode().replace("\r\n", "\n")


def into(path: str | int, *arguments: object) -> tuple[int, str]:
    """Exit code and errors of a command whose standard output is a file or a descriptor."""
    words = [sys.executable, "-m", "audit", *map(str, arguments)]
    with open(path, "wb") as out:  # noqa: PTH123 (a descriptor is no path)
        done = subprocess.run(words, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("outcome", RUNS)
def test_a_terminal_shows_the_verdict_in_colour(tmp_path: Path, outcome: str) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    plain = engram("gate", run).out
    assert "\x1b" not in plain
    answer, said = on_a_terminal("gate", run)
    assert answer == code
    assert said.startswith(f"\x1b[1;{COLOURS[outcome]}m{outcome}: ")
    assert on_a_terminal("gate", run, NO_COLOR="1")[1].replace("\x1b[1m", "").replace("\x1b[0m", "") == plain


def test_lines_are_not_wrapped_and_words_are_no_markup(tmp_path: Path) -> None:
    prompts = [f"[red]{index}[/red] :fox: [link=http://evil.example]x[/link]" for index in range(20)]
    run = write_example(tmp_path / "run", LEAKS, prompts=prompts)
    code, said = on_a_terminal("gate", run, "--show-prompts", TERM="dumb")
    assert code == 1
    assert said == engram("gate", run, "--show-prompts").out
    assert prompts[0] in said


@pytest.mark.parametrize("outcome", RUNS)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_went_away_changes_no_verdict(tmp_path: Path, outcome: str, more: tuple[str, ...]) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    read, write = os.pipe()
    os.close(read)
    assert into(write, "gate", run, *more, "--junit", tmp_path / "junit.xml") == (code, "")
    assert (tmp_path / "junit.xml").is_file()


@pytest.mark.parametrize("command", ["show {run} p0", "report {run}", "planted list", "detectors"])
def test_a_reader_that_went_away_is_no_error(tmp_path: Path, command: str) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    read, write = os.pipe()
    os.close(read)
    code, errors = into(write, *command.format(run=run).split())
    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(("more", "code"), [((), 0), (("--gate",), 1)])
def test_a_reader_of_the_summary_that_went_away_makes_no_other_verdict(
    finished: Any, copied: Path, more: tuple[str, ...], code: int
) -> None:
    """`engram audit | head` must not exit with 1, which says that the model leaks."""
    options = [copied if option == finished.run else option for option in finished.options]
    read, write = os.pipe()
    os.close(read)
    ended, errors = into(write, "audit", *options, *more)
    assert ended == code
    assert "Traceback" not in errors


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_no_pass(tmp_path: Path, more: tuple[str, ...]) -> None:
    code, errors = into("/dev/full", "gate", write_example(tmp_path / "run"), *more)
    assert code == 2
    assert errors == "engram: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("outcome", RUNS)
def test_a_closed_standard_output_changes_no_verdict(tmp_path: Path, outcome: str) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    words = f"exec '{sys.executable}' -m audit gate '{run}' >&-"
    assert subprocess.run(["sh", "-c", words], cwd=ROOT).returncode == code


@pytest.mark.parametrize("command", [("gate", "{run}", "--policy"), ("waivers", "check")])
def test_an_interrupted_judgement_is_no_pass(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The policy is a pipe that nobody writes to, so that the command waits until it is interrupted."""
    run, pipe = write_example(tmp_path / "run"), tmp_path / "policy.toml"
    os.mkfifo(pipe)
    process = start(*(word.format(run=run) for word in command), pipe)
    end = None
    while end is None:  # it has opened the pipe as soon as it can be opened for writing
        assert process.poll() is None
        try:
            end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    os.close(end)  # ends the wait of a process that the signal reached just before it
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in errors


def test_an_interruption_within_the_judgement_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = write_example(tmp_path / "run")
    for part in ("reports.check.load_checked", "reports.gate.judge", "reports.gate_outputs.write_outputs"):
        with monkeypatch.context() as patch:
            patch.setattr(part, interrupted)
            assert refused(engram("gate", run, "--exit-zero"), code=130).startswith("engram: interrupted")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "Etc/GMT+12"])
def test_a_waiver_ends_on_the_same_day_everywhere(tmp_path: Path, zone: str) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    before = datetime.now(UTC).date()
    waivers = tmp_path / "waivers.toml"
    waivers.write_text(waiver("0" * 16, before.isoformat()), encoding="utf-8")
    words = [sys.executable, "-m", "audit", "waivers", "check", str(waivers), "--run", str(run)]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "TZ": zone}, capture_output=True, text=True)
    if datetime.now(UTC).date() == before:
        assert done.returncode == 0, done.stdout


def test_a_bug_where_no_model_library_is_installed_is_still_an_internal_error(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    code = (
        "import sys; sys.modules['torch'] = None; import reports.gate; reports.gate.judge = lambda *_, **__: 1 / 0; "
        f"sys.argv = ['engram', 'gate', {str(run)!r}]; from audit.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 4
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("engram: internal error")
