"""Say an answer on standard output: coloured lines on a terminal, plain ones elsewhere, or one JSON document."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from reports.files import RUN_FILE

_STYLES = {
    "pass": "bold green",
    "fail": "bold red",
    "untrusted": "bold yellow",
    "new": "red",
    "worse": "red",
    "breaks": "red",
    "note": "yellow",
}
"""By the first word of a line."""


def say_lines(lines: Iterable[str]) -> None:
    """Print lines, of which a terminal shows the verdict, what is bad and what is to be noted in colour."""
    if sys.stdout is None or not sys.stdout.isatty():
        say_text("\n".join(lines))
        return
    with _standard_output():
        console = Console(highlight=False)
        for line in lines:
            console.print(Text(line, style=_STYLES.get(line.split(":")[0].split(" ")[0], "")), soft_wrap=True)


def say_text(text: str) -> None:
    """Print text as it is."""
    with _standard_output():
        typer.echo(text)


def say_json(document: Mapping[str, Any]) -> None:
    """Print a document in ASCII, so that no terminal and no encoding changes it; what is no number is null."""
    with _standard_output():
        typer.echo(json.dumps(_plain(document), indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def lines_aside(as_json: bool) -> Iterator[None]:
    """Send what is printed in the block to stderr where stdout is a program's."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def run_document(directory: Path) -> dict[str, Any]:
    """What run.json of a directory states, and which directory that is."""
    return {"run": str(directory), **stated_in(directory / RUN_FILE)}


def stated_in(path: Path) -> dict[str, Any]:
    """The content of a JSON file that we have just written."""
    stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return stated


@contextmanager
def _standard_output() -> Iterator[None]:
    """Flush what is said; a reader that went away changes no exit code, an output that is full is an error."""
    from reports.gate_outputs import OutputError

    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter fails when it ends
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output cannot be written: {error.strerror or error}") from error
