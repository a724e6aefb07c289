"""A disk that fails at any moment ends an audit in one line, and the same command then resumes it."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pandas as pd
import pytest

from tests.audit.commands import digests, error_line, refused, run_flashbulb, run_json, scores_of, wait_for
from tests.paths import ROOT
from tests.processes import fork_flashbulb, fork_python

MOMENTS = [*range(1, 12, 2), *range(12, 60, 7)]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every flush of a file from the n-th on fail with an error number; 0 lets them work again."""
    flush, state = os.fsync, {"first": 0, "count": 0, "number": 0}

    def fail(descriptor: int) -> None:
        state["count"] += 1
        if state["first"] and state["count"] >= state["first"]:
            raise OSError(state["number"], os.strerror(state["number"]))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fail)

    def begin(first: int, number: int = 0) -> None:
        state.update(first=first, count=0, number=number)

    return begin


def test_a_disk_that_fails_from_any_moment_on_is_one_line_and_the_audit_resumes(inputs, plain, failing, tmp_path):
    run, codes = tmp_path / "run", []
    for moment, number in zip(MOMENTS, cycle((errno.ENOSPC, errno.EROFS, errno.EIO))):
        failing(moment, number)  # each goes on from where the last one ended
        answer = run_flashbulb("audit", *inputs.options(run))
        codes.append(answer.code)
        if answer.code == 0:
            break
        line = error_line(answer)
        assert os.strerror(number) in line
        assert str(run) in line
        failing(0)
        if (run / "run.json").exists():
            assert run_json(run)["status"] in ("running", "recorded", "detected")
            assert run_flashbulb("gate", run).code == 3
    assert len(codes) > len(MOMENTS) // 3
    failing(0)
    assert run_flashbulb("audit", *inputs.options(run)).code == 0
    pd.testing.assert_frame_equal(scores_of(run), scores_of(plain.run), check_exact=True)
    assert run_json(run)["verdict"] == run_json(plain.run)["verdict"]
    assert digests(run).keys() == digests(plain.run).keys()


def test_a_limit_on_the_size_of_files_is_one_line_that_names_the_file(inputs, tmp_path):
    code = "\n".join(
        [
            "import resource, sys",
            f"resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))",
            "from flashbulb.audit.__main__ import main; main()",
        ]
    )
    ended = fork_python(code, "audit", *map(str, inputs.options(tmp_path / "run"))).wait()
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    assert "parquet: File too large; run the same command again" in ended.err.splitlines()[-1]
    assert run_json(tmp_path / "run")["status"] in ("running", "failed")
    assert run_flashbulb("audit", *inputs.options(tmp_path / "run")).code == 0


def test_a_process_killed_before_its_first_file_leaves_a_directory_that_is_claimed(inputs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / "run.json.0123abcd.part").write_text('{"schema')
    assert run_flashbulb("audit", *inputs.options(run)).code == 0
    assert not (run / ".lock").exists()
    (run / "run.json").unlink()
    assert "choose another --out" in refused("audit", *inputs.options(run), "--force")


def test_a_second_audit_of_the_same_directory_is_refused_by_name(inputs, tmp_path):
    run = tmp_path / "run"
    process = fork_flashbulb("audit", *inputs.options(run), "--shard-size", "1")
    wait_for(run / "run.json", process)
    process.send_signal(signal.SIGSTOP)
    try:
        for command in ("audit", "validate"):
            assert f"{run} is held by process {process.process.pid}" in refused(command, *inputs.options(run))
        assert "is held by process" in refused("detect", run)
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait().code == 0


def test_sigterm_ends_an_audit_like_an_interrupt_with_143(inputs, tmp_path):
    run = tmp_path / "run"
    process = fork_flashbulb("audit", *inputs.options(run), "--shard-size", "1")
    wait_for(run / "activations", process)
    process.send_signal(signal.SIGTERM)
    ended = process.wait()
    assert ended.code == 143, ended.err
    assert ended.err.splitlines()[-1] == "flashbulb: interrupted; run the same command again to resume"
    assert "Traceback" not in ended.err
    assert run_json(run)["status"] == "interrupted"
    assert run_flashbulb("gate", run).code == 3


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_one_line(inputs, tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("flashbulb.audit.stages.record.record_set", fail)
    assert "not enough memory" in refused("audit", *inputs.options(tmp_path / "run"))
    assert run_json(tmp_path / "run")["status"] == "failed"


def test_too_little_memory_to_start_is_not_the_code_of_a_leak():
    code = "\n".join(
        [
            "import sys, flashbulb.audit",
            "vars(flashbulb.audit).pop('cli', None)",
            "class Short:",
            "    def find_spec(self, name, *_):",
            "        if name == 'flashbulb.audit.cli': raise MemoryError",
            "sys.modules.pop('flashbulb.audit.cli', None)",
            "sys.meta_path.insert(0, Short())",
            "from flashbulb.audit.__main__ import main; main()",
        ]
    )
    ended = fork_python(code, "--version").wait()
    assert (ended.code, ended.err) == (2, "flashbulb: not enough memory to start\n")


@pytest.mark.parametrize(
    ("ending", "code"), [("libc.exit(1)", 2), ("sys.exit(1)", 1), ("sys.exit(0)", 0), ("1 / 0", 4)]
)
def test_a_library_that_ends_the_process_does_not_exit_like_a_gate(ending, code):
    script = "\n".join(
        [
            "import ctypes, sys, flashbulb.audit.cli as cli",
            "libc = ctypes.CDLL(None)",
            f"cli.main = lambda: print('kept', end='') or {ending}",
            "from flashbulb.audit.__main__ import main; main()",
        ]
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == code, process.stderr
    assert process.stdout == "kept" or "libc" in ending


def test_everything_in_a_new_run_directory_is_private(inputs, tmp_path):
    run = tmp_path / "run"
    before = os.umask(0o022)
    try:
        assert run_flashbulb("audit", *inputs.options(run)).code == 0
        assert run_flashbulb("report", run).code == 0
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (run, *run.rglob("*")) if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*") if path.is_file()} == {0o600}


@pytest.mark.parametrize(("arguments", "code"), [(("gate", "nowhere"), 2), (("--version",), 0), (("nonsense",), 2)])
def test_a_full_standard_error_does_not_change_the_exit_code(arguments, code):
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "flashbulb", *arguments], cwd=ROOT, stderr=full, stdout=subprocess.PIPE
        )
    assert process.returncode == code


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_standard_output_that_cannot_be_written_is_an_error_of_usage(argument):
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "flashbulb", argument], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert process.returncode == 2, process.stderr
    assert "No space left on device" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_summary_that_cannot_be_printed_leaves_a_complete_audit(inputs, tmp_path):
    with Path("/dev/full").open("wb") as full:
        ended = fork_flashbulb("audit", *inputs.options(tmp_path / "run"), out=full).wait()
    assert (ended.code, run_json(tmp_path / "run")["status"]) == (0, "complete"), ended.err
    assert ended.err.splitlines()[-1].startswith("what the run prints cannot be shown: No space left on device")
