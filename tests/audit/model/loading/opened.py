"""Open model folders by commands in a process that answers "y" to all that is asked, and tell whether code ran."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.audit.model.loading.folders import Change, linked_copy, ran
from tests.processes import fork_python

OPEN = """
import contextlib, io, json, os, sys
from pathlib import Path
from flashbulb.audit.cli import app

answers, ends = os.pipe()
os.write(ends, b"y\\n" * 1000)
os.dup2(answers, 0)
sys.stdin = os.fdopen(0)
for command in Path(sys.argv[1]).read_text().splitlines():
    lines = io.StringIO()
    with contextlib.redirect_stderr(lines), contextlib.redirect_stdout(io.StringIO()):
        try:
            app(json.loads(command))
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException as error:
            code = repr(error)
    print(json.dumps([code, lines.getvalue()]), flush=True)
"""


class Opened(NamedTuple):
    """How a command ended, and whether code of the folder ran in it or in one before it."""

    code: int | str
    err: str
    ran: bool


def open_all(
    saved: Path, place: Path, changes: Mapping[str, Change], *options: str, before: Sequence[str] = ("sites",)
) -> dict[str, Opened]:
    """Open a changed copy of a saved folder for each of `changes`.

    Args:
        options: arguments after the folder.
        before: arguments before it.
    """
    folders = []
    for number, change in enumerate(changes.values()):
        folder = linked_copy(saved, place / str(number) / "model")
        change(folder)
        folders.append(folder)
    listed = place / "commands.txt"
    listed.write_text("\n".join(json.dumps([*before, str(folder), *options]) for folder in folders))
    answers = fork_python(OPEN, listed).wait().out.splitlines()
    opened = [Opened(*json.loads(line), ran(folder).exists()) for folder, line in zip(folders, answers, strict=True)]
    return dict(zip(changes, opened, strict=True))
