"""Say an answer on standard output: coloured lines on a terminal, plain ones elsewhere, or one JSON document."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

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
    with _standard_output():
        if sys.stdout is None or not sys.stdout.isatty():
            typer.echo("\n".join(lines))
            return
        console = Console(highlight=False)
        for line in lines:
            console.print(Text(line, style=_STYLES.get(line.split(":")[0].split(" ")[0], "")), soft_wrap=True)


def say_json(document: Mapping[str, Any]) -> None:
    """Print a document in ASCII, so that no terminal and no encoding changes it."""
    with _standard_output():
        typer.echo(json.dumps(document, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


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
