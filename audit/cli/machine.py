"""`--json`: one document on stdout for programs, while what people read goes to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from audit.cli.saying import say_json
from reports.files import RUN_FILE


@contextmanager
def lines_aside(as_json: bool) -> Iterator[None]:
    """Send what is printed in the block to stderr where stdout is a program's."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document`, in which what is no number is null."""
    say_json(_plain(document))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def run_document(directory: Path) -> dict[str, Any]:
    """What run.json of a directory states, and which directory that is."""
    return {"run": str(directory), **stated_in(directory / RUN_FILE)}


def stated_in(path: Path) -> dict[str, Any]:
    """The content of a JSON file that we have just written."""
    stated: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return stated
