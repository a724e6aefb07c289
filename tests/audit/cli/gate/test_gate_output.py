"""The gate on a terminal, a closed pipe and a full disk, when interrupted, and in other time zones."""

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

from tests.audit.cli.gate.verdicts import RUNS, waiver
from tests.audit.commands import ROOT, only_error_line, run_flashbulb, start
from tests.processes import fork_flashbulb
from tests.reports.runs import LEAKS, write_example

COLOURS = {"pass": "32", "inconclusive": "36", "fail": "31", "untrusted": "33"}


def on_a_terminal(*arguments: object, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal of 40 columns; return exit code and output."""
    master, slave = pty.openpty()
    process = fork_flashbulb(*arguments, out=slave, environment={"TERM": "xterm", "COLUMNS": "40", **environment})
    os.close(slave)
    output = b""
    while True:
        try:
            output += (piece := os.read(master, 65536))
        except OSError:  # the other end is closed
            break
        if not piece:
            break
    os.close(master)
    return process.wait().code, output.decode().replace("\r\n", "\n")


def redirected(path: str | int, *arguments: object) -> tuple[int, str]:
    """Run a command with standard output redirected to a path or file descriptor; return exit code and stderr."""
    with open(path, "wb") as out:  # noqa: PTH123 (a descriptor is no path)
        process = fork_flashbulb(*arguments, out=out)
    ended = process.wait()
    return ended.code, ended.err


def test_started_process_ends_as_a_forked_one(tmp_path: Path) -> None:
    """The other tests fork a process that has imported everything. A user's process starts from nothing."""
    run = write_example(tmp_path / "run", LEAKS)
    for path, code in (("closed pipe", 1), ("/dev/full", 2)):
        ends = []
        for _ in range(2):
            read, write = os.pipe()
            os.close(read)
            ends.append(write if path == "closed pipe" else os.open(path, os.O_WRONLY))
        with os.fdopen(ends[0], "wb") as out:
            words = [sys.executable, "-m", "flashbulb", "gate", str(run)]
            started = subprocess.run(words, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True)
        assert redirected(ends[1], "gate", run) == (started.returncode, started.stderr)
        assert started.returncode == code


@pytest.mark.parametrize("outcome", RUNS)
def test_a_terminal_shows_the_verdict_in_colour(tmp_path: Path, outcome: str) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    plain = run_flashbulb("gate", run).out
    assert "\x1b" not in plain
    answer, output = on_a_terminal("gate", run)
    assert answer == code
    assert output.startswith(f"\x1b[1;{COLOURS[outcome]}m{outcome}: ")
    assert on_a_terminal("gate", run, NO_COLOR="1")[1].replace("\x1b[1m", "").replace("\x1b[0m", "") == plain


def test_lines_are_not_wrapped_and_prompts_are_not_read_as_markup(tmp_path: Path) -> None:
    prompts = [f"[red]{index}[/red] :fox: [link=http://evil.example]x[/link]" for index in range(20)]
    run = write_example(tmp_path / "run", LEAKS, prompts=prompts)
    code, output = on_a_terminal("gate", run, "--show-prompts", TERM="dumb")
    assert code == 1
    assert output == run_flashbulb("gate", run, "--show-prompts").out
    assert prompts[0] in output


@pytest.mark.parametrize("outcome", RUNS)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_closed_pipe_does_not_change_the_verdict(tmp_path: Path, outcome: str, flags: tuple[str, ...]) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    read, write = os.pipe()
    os.close(read)
    assert redirected(write, "gate", run, *flags, "--junit", tmp_path / "junit.xml") == (code, "")
    assert (tmp_path / "junit.xml").is_file()


@pytest.mark.parametrize("command", ["show {run} p0", "report {run}", "planted list", "detectors"])
def test_closed_pipe_is_not_an_error(tmp_path: Path, command: str) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    read, write = os.pipe()
    os.close(read)
    code, errors = redirected(write, *command.format(run=run).split())
    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--gate",), 1)])
def test_closed_pipe_does_not_change_the_exit_code_of_an_audit(
    finished: Any, copied: Path, flags: tuple[str, ...], code: int
) -> None:
    """`flashbulb audit | head` must not exit with 1, which would mean that the model leaks."""
    options = [copied if option == finished.run else option for option in finished.options]
    read, write = os.pipe()
    os.close(read)
    ended, errors = redirected(write, "audit", *options, *flags)
    assert ended == code
    assert "Traceback" not in errors


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_full_disk_does_not_pass_the_gate(tmp_path: Path, flags: tuple[str, ...]) -> None:
    code, errors = redirected("/dev/full", "gate", write_example(tmp_path / "run"), *flags)
    assert code == 2
    assert errors == "flashbulb: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("outcome", RUNS)
def test_closed_standard_output_does_not_change_the_verdict(tmp_path: Path, outcome: str) -> None:
    options, code = RUNS[outcome]
    run = write_example(tmp_path / "run", **options)
    words = f"exec '{sys.executable}' -m flashbulb gate '{run}' >&-"
    assert subprocess.run(["sh", "-c", words], cwd=ROOT).returncode == code


@pytest.mark.parametrize("command", [("gate", "{run}", "--policy"), ("waivers", "check")])
def test_interrupted_gate_does_not_pass(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The policy is a pipe without a writer, so the command blocks until it is interrupted."""
    run, pipe = write_example(tmp_path / "run"), tmp_path / "policy.toml"
    os.mkfifo(pipe)
    process = start(*(word.format(run=run) for word in command), pipe)
    end = None
    while end is None:  # opening for writing succeeds once the command has opened the pipe
        assert process.poll() is None
        try:
            end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    os.close(end)  # unblocks a process that the signal reached just before it opened the pipe
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in errors


def test_interrupt_at_any_step_does_not_pass_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = write_example(tmp_path / "run")
    for part in (
        "flashbulb.reports.checks.run.load_checked",
        "flashbulb.reports.gate.judgement.judge",
        "flashbulb.reports.gate.outputs.write_outputs",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(part, interrupted)
            assert only_error_line(run_flashbulb("gate", run, "--exit-zero"), code=130).startswith(
                "flashbulb: interrupted"
            )


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "Etc/GMT+12"])
def test_waiver_ends_on_the_same_day_in_every_time_zone(tmp_path: Path, zone: str) -> None:
    run = write_example(tmp_path / "run", LEAKS)
    before = datetime.now(UTC).date()
    waivers = tmp_path / "waivers.toml"
    waivers.write_text(waiver("0" * 16, before.isoformat()), encoding="utf-8")
    ended = fork_flashbulb("waivers", "check", waivers, "--run", run, environment={"TZ": zone}).wait()
    if datetime.now(UTC).date() == before:
        assert ended.code == 0, ended.out


def test_bug_is_an_internal_error_even_without_model_libraries(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run")
    code = (
        "import sys; sys.modules['torch'] = None; from flashbulb.reports.gate import judgement; "
        "judgement.judge = lambda *_, **__: 1 / 0; "
        f"sys.argv = ['flashbulb', 'gate', {str(run)!r}]; from flashbulb.audit.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 4
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("flashbulb: internal error")


def test_characters_that_the_terminal_lacks_are_shown_by_their_codes(tmp_path: Path) -> None:
    run = write_example(tmp_path / "run", {0: "low"}, prompts=["жар-птица", *(f"prompt {n}" for n in range(9))])
    words = [sys.executable, "-m", "flashbulb", "show", str(run), "p0"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert rb"\u0436\u0430\u0440" in done.stdout
