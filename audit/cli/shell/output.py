"""Print to standard output: coloured lines on a terminal, plain lines elsewhere, or one JSON document."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from flashbulb.reports.tables.files import RUN_FILE
from flashbulb.reports.tables.stores import with_uris

_STYLES = {
    "pass": "bold green",
    "inconclusive": "bold cyan",
    "fail": "bold red",
    "untrusted": "bold yellow",
    "new": "red",
    "worse": "red",
    "breaks": "red",
    "note": "yellow",
}
"""Style of a line by its first word."""


def print_lines(lines: Iterable[str]) -> None:
    """Print lines. On a terminal, verdicts, broken limits and notes are coloured."""
    if sys.stdout is None or not sys.stdout.isatty():
        print_text("\n".join(lines))
        return
    with _standard_output():
        console = Console(highlight=False)
        for line in map(with_uris, lines):
            console.print(Text(line, style=_STYLES.get(line.split(":")[0].split(" ")[0], "")), soft_wrap=True)


def print_text(text: str) -> None:
    """Print text unchanged."""
    with _standard_output():
        typer.echo(with_uris(text))


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document as ASCII JSON, which every terminal and encoding can show. Non-finite numbers become null."""
    with _standard_output():
        typer.echo(json.dumps(_plain(document), indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return with_uris(str(value)) if isinstance(value, str | Path) else value


@contextmanager
def lines_to_stderr(as_json: bool) -> Iterator[None]:
    """Redirect what the block prints to stderr if stdout carries a JSON document."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def run_document(directory: Path) -> dict[str, Any]:
    """Return the content of a directory's run.json, with the path of the directory as `run`."""
    return {"run": str(directory), **read_json(directory / RUN_FILE)}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that this command has just written."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def exit_with_summary(code: int, summary: Path) -> NoReturn:
    """Exit with the code of a verdict, and append its summary, a Markdown file, to that of the CI step.

    Raises:
        OutputError: the summary cannot be read, or not be appended.
    """
    from flashbulb.reports.gate.outputs import append_step_summary, output_errors

    with output_errors("the step summary"):
        append_step_summary(summary.read_text(encoding="utf-8"))
    raise typer.Exit(code)


@contextmanager
def _standard_output() -> Iterator[None]:
    """Flush standard output. A closed pipe keeps the exit code; other failures, such as a full disk, raise.

    Raises:
        OutputError: standard output cannot be written.
    """
    from flashbulb.reports.gate.outputs import OutputError

    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter fails to flush stdout on exit
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output cannot be written: {error.strerror or error}") from error
