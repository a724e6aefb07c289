"""Ctrl-C leaves a run that is not trusted, and that resumes to the result of an uninterrupted one."""

import os
import pty
import signal

import pandas as pd
import pytest

from tests.audit.commands import run_flashbulb, run_json, scores_of, shards, text_file, wait_for
from tests.processes import fork_flashbulb, fork_python


def test_interrupted_audit_is_not_trusted_and_resumes_to_the_same_result(inputs, tmp_path):
    many = text_file(tmp_path / "many.txt", [f"a star over the sea, number {i}" for i in range(16)])
    inputs = inputs._replace(reference=many)
    run, uninterrupted = tmp_path / "run", tmp_path / "uninterrupted"
    process = fork_flashbulb("audit", *inputs.options(run), "--shard-size", "1")
    wait_for(run / "activations" / "reference" / "step" / "part-00000.json", process)
    process.send_signal(signal.SIGINT)
    code, _, err = process.wait()
    assert code == 130, err
    assert [line for line in err.splitlines() if line.startswith("flashbulb: ")] == [
        "flashbulb: interrupted; run the same command again to resume"
    ]
    assert "Traceback" not in err
    assert run_json(run)["status"] == "interrupted"
    assert run_flashbulb("gate", run).code == 3
    before = shards(run)
    assert 0 < len(before) < 4 * 16

    for out in (run, uninterrupted):  # in processes like the first, which round alike
        assert fork_flashbulb("audit", *inputs.options(out), "--shard-size", "1").wait().code == 0
    after = shards(run)
    kept = [name for name in before if name.endswith("part-00000.parquet")]
    assert kept
    assert all(after[name] == before[name] for name in kept)
    pd.testing.assert_frame_equal(scores_of(run), scores_of(uninterrupted), check_exact=True)
    assert (
        run_flashbulb("gate", run).code
        == run_flashbulb("gate", uninterrupted).code
        == run_json(uninterrupted)["verdict"]["exit_code"]
    )


@pytest.mark.parametrize(("is_sent", "code", "status"), [(True, 129, "interrupted"), (False, 0, "complete")])
def test_a_terminal_that_closes_interrupts_by_its_signal_alone(inputs, tmp_path, is_sent, code, status):
    """Whoever ignores the signal, as a shell's `disown` lets a command do, still has a bar that cannot be drawn."""
    many = text_file(tmp_path / "many.txt", [f"a star over the sea, number {i}" for i in range(16)])
    run, (master, slave) = tmp_path / "run", pty.openpty()
    process = fork_flashbulb("audit", *inputs._replace(reference=many).options(run), "--shard-size", "1", err=slave)
    os.close(slave)
    wait_for(run / "activations" / "reference" / "step" / "part-00000.json", process)
    os.close(master)
    if is_sent:
        process.send_signal(signal.SIGHUP)
    assert process.wait().code == code
    assert run_json(run)["status"] == status


def test_an_interrupt_before_a_command_begins_is_one_line(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flashbulb.audit.cli.shell.command.bind_variables_", interrupted)
    answer = run_flashbulb("gate", "nowhere")
    assert (answer.code, answer.err) == (130, "flashbulb: interrupted\n")


def code_that_sends(signal_name: str, before: str) -> str:
    """Return Python that sends its own process a signal while the commands are put together.

    Args:
        before: what whoever starts the process does with the signal, SIG_DFL or SIG_IGN; tests may run under nohup.
    """
    return "\n".join(
        [
            "import os, signal, sys, flashbulb.audit.cli",
            f"signal.signal(signal.{signal_name}, signal.{before})",
            "module = sys.modules['flashbulb.audit.cli.app']",
            f"module.app = lambda: os.kill(os.getpid(), signal.{signal_name})",
            "from flashbulb.audit.__main__ import main; main()",
        ]
    )


@pytest.mark.parametrize(("signal_name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_the_commands_are_put_together_is_one_line(signal_name, code):
    ended = fork_python(code_that_sends(signal_name, "SIG_DFL")).wait()
    assert (ended.code, ended.err) == (code, "flashbulb: interrupted\n")


@pytest.mark.parametrize("signal_name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_signal_that_whoever_started_the_command_ignores_stays_ignored(signal_name):
    """As SIGHUP is under nohup."""
    assert fork_python(code_that_sends(signal_name, "SIG_IGN")).wait().code == 0


def test_an_interrupt_that_a_library_turned_into_an_error_is_an_interrupt():
    code = "\n".join(
        [
            "import os, signal, flashbulb.reports.gate.policy",
            "def read_policy(_):",
            "    try:",
            "        os.kill(os.getpid(), signal.SIGINT)",
            "    except KeyboardInterrupt:",
            "        raise ValueError('the file is torn') from None",
            "flashbulb.reports.gate.policy.read_policy = read_policy",
            "from flashbulb.audit.__main__ import main; main()",
        ]
    )
    ended = fork_python(code, "gate", "nowhere").wait()
    assert (ended.code, ended.err) == (130, "flashbulb: interrupted; run the same command again to resume\n")


def test_an_interrupt_at_once_is_no_exit_code_of_a_gate():
    codes = set()
    for _ in range(8):
        process = fork_flashbulb("gate", "nowhere")
        process.send_signal(signal.SIGINT)
        codes.add(process.wait().code)
    assert codes <= {130, -signal.SIGINT}
