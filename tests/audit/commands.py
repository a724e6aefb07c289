"""Run the `flashbulb` command, in this process or another, and read the files it wrote."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import typer.main
import typer.testing
from typer.testing import CliRunner

from flashbulb.audit.cli import app
from tests.audit.shared.drawings import drawn_once
from tests.audit.shared.fits import fitted_once
from tests.audit.shared.networks import read_once
from tests.paths import ROOT
from tests.processes import Forked

REFERENCE = [f"a {c} star over the {p}" for c in ("red", "blue", "green", "white") for p in ("sea", "hill", "town")]
ODD = "zzqx !!!! @@@@ ####"  # so unlike the reference that it is flagged
CANDIDATES = ["a black star over the sea", "a grey star over the hill", "a red star over the lake", "жар-птица", ODD]
QUICK = ("--seeds", "2", "--samples", "2", "--sample-steps", "2", "--fpr", "0.2", "--strategy", "sample")


class Answer(NamedTuple):
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of stderr that are errors, not progress."""
        return [line for line in self.err.splitlines() if line.startswith("flashbulb: ")]


def run_flashbulb(*arguments: object) -> Answer:
    """Run the command in this process, and restore the logging configuration."""
    handlers, level = logging.root.handlers[:], logging.root.level
    words = [str(argument) for argument in arguments]
    try:
        with drawn_once(), read_once(), fitted_once(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(typer.testing, "_get_command", lambda _: command_line(words))
            result = CliRunner().invoke(app, words)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


@cache
def _built() -> Any:
    return typer.main.get_command(app)


def command_line(words: Sequence[str]) -> Any:
    """Copy the command line as if it had been built anew, which takes longer than most commands."""
    built = _built()
    root = copy(built)  # a run changes its root and its command, and no other
    root.params = list(map(copy, built.params))
    root.commands = built.commands | {name: _copied(built.commands[name]) for name in built.commands.keys() & words}
    return root


def _copied(command: Any) -> Any:
    """Copy a command with its parameters, whose attributes a run sets; how they are read is built once for all runs."""
    for param in command.params:
        param.get_runtime_param()
    copied = copy(command)
    copied.params = list(map(copy, command.params))
    if hasattr(command, "commands"):
        copied.commands = {name: _copied(inner) for name, inner in command.commands.items()}
    return copied


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command as a separate process that can be interrupted, even where pytest ignores SIGINT."""
    return subprocess.Popen(
        [sys.executable, "-m", "flashbulb", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def text_file(path: Path, texts: Sequence[str]) -> Path:
    """Write one text per line."""
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def run_json(run: Path) -> dict[str, Any]:
    """Read `run.json` of a run directory without validation."""
    content: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return content


def edit_run_json(run: Path, *path: str, value: object) -> None:
    """Set one entry of `run.json`, as with a text editor."""
    content = run_json(run)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (run / "run.json").write_text(json.dumps(content), encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def shard_digests(run: Path) -> dict[str, str]:
    """Return the SHA-256 of the shards and their manifests."""
    return {name: digest for name, digest in digests(run / "activations").items() if "/part-" in name}


def scores_of(run: Path) -> pd.DataFrame:
    """Read `scores.parquet` of a run directory."""
    return pd.read_parquet(run / "scores.parquet")


def shards(run: Path) -> dict[str, int]:
    """Return the modification time of each recorded file of a run directory, in nanoseconds."""
    return {str(p.relative_to(run)): p.stat().st_mtime_ns for p in sorted((run / "activations").rglob("part-*"))}


def error_line(answer: Answer, code: int = 2) -> str:
    """Return the one error line that a command ends with."""
    assert answer.code == code, answer
    assert len(answer.errors) == 1, answer.err
    assert answer.err.splitlines()[-1] == answer.errors[0]
    assert "Traceback" not in answer.err
    return answer.errors[0]


def message_of(answer: Answer) -> str:
    """Return the message of the error line that a command ends with."""
    return error_line(answer).removeprefix("flashbulb: ")


def only_error_line(answer: Answer, code: int = 2) -> str:
    """Return the error line of a command that prints nothing else to stderr."""
    assert len(answer.err.splitlines()) == 1, answer.err
    return error_line(answer, code)


def refused(*arguments: object, code: int = 2) -> str:
    """Run a command that fails, and return its error line."""
    return error_line(run_flashbulb(*arguments), code)


def wait_for(path: Path, process: Forked) -> None:
    """Wait until `process` has written `path`."""
    while not path.exists():
        process.process.join(timeout=0.01)
        assert process.process.is_alive(), f"ended before {path}: {process.wait()}"
