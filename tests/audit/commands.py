"""Run the `engram` command on a toy pipeline, in this process or another, and look at what it left."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from typer.testing import CliRunner

from audit.cli import app

ROOT = Path(__file__).parents[2]
REFERENCE = [f"a {c} star over the {p}" for c in ("red", "blue", "green", "white") for p in ("sea", "hill", "town")]
ODD = "zzqx !!!! @@@@ ####"  # so unlike the reference that it is flagged
CANDIDATES = ["a black star over the sea", "a grey star over the hill", "a red star over the lake", "жар-птица", ODD]
QUICK = ("--seeds", "2", "--samples", "2", "--sample-steps", "2", "--fpr", "0.2", "--strategy", "sample")


class Answer(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of stderr that are errors rather than progress."""
        return [line for line in self.err.splitlines() if line.startswith("engram: ")]


def engram(*arguments: object) -> Answer:
    """Run the command in this process; logging is left as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command as a process of its own that can be interrupted, even where pytest cannot."""
    return subprocess.Popen(
        [sys.executable, "-m", "audit", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def text_file(path: Path, texts: Sequence[str]) -> Path:
    """Write one prompt a line."""
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def run_json(run: Path) -> dict[str, Any]:
    """`run.json` of a run directory, unchecked."""
    content: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return content


def edit_run_json(run: Path, *path: str, value: object) -> None:
    """Set one entry of `run.json`, as an editor would."""
    content = run_json(run)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (run / "run.json").write_text(json.dumps(content), encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def scores_of(run: Path) -> pd.DataFrame:
    """`scores.parquet` of a run directory."""
    return pd.read_parquet(run / "scores.parquet")


def shards(run: Path) -> dict[str, int]:
    """When each recorded file of a run directory was last written, in nanoseconds."""
    return {str(p.relative_to(run)): p.stat().st_mtime_ns for p in sorted((run / "activations").rglob("part-*"))}
