"""The blocks of commands in README and docs, and how they are run: the shell's by bash, `flashbulb` in this process.

A block in `sh` or `python` is run, unless a comment above it says otherwise and why:

    <!-- slow: audits the embedded model -->            run by `make test-slow`
    <!-- not executed: needs a cluster -->              never run
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.audit.commands import Answer, run_flashbulb
from tests.paths import ROOT

PAGES = (ROOT / "README.md", ROOT / "reports" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LANGUAGES = ("sh", "python", "text", "toml", "json")
"""Of fenced blocks: the first two are run, the others are no commands."""
SLOW = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        *("canaries", "command-line", "fine-tunes", "frame", "getting-started"),
        *("pull", "python", "references", "stages", "sweep"),
    )
]
"""Pages that take five CPU seconds or more, whose commands tests of the command line run as well."""
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>.*?) -->\n)? *```(?P<language>\S*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
_CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["DOCUMENTS_SOCKET"])
    with server.makefile("rw", encoding="utf-8") as stream:
        stream.write(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]) + "\\n")
        stream.flush()
        code, out, err = json.loads(stream.readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
_LAUNCHER = """
while [ "$1" != flashbulb ]; do shift; done
for rank in 1 0; do {rank}=$rank {size}=2 "$@"; done
"""
_REFUSED = ("pip", "apt-get", "conda", "make", "accelerate")
"""Commands that no test runs: a block that needs one has to say so."""
_OURS = re.compile(r"FLASHBULB_|HF_|RAY_ADDRESS$|SLURM_|RANK$|WORLD_SIZE$|LOCAL_RANK$")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    mark: str | None  # the comment above it

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it holds commands that a test runs."""
        return self.language in ("sh", "python") and not (self.mark or "").startswith("not executed: ")

    @property
    def is_slow(self) -> bool:
        return (self.mark or "").startswith("slow: ")


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")),
            found["language"],
            textwrap.dedent(found["text"]),
            found["mark"],
        )
        for found in _FENCE.finditer(text)
    ]


class Call(NamedTuple):
    """One call of `flashbulb` by a block: its words and its answer."""

    words: tuple[str, ...]
    answer: Answer


class Asked(NamedTuple):
    """What a script asks of `flashbulb`: the words, the environment, and where."""

    words: list[str]
    environment: dict[str, str]
    directory: str


def write_tools(folder: Path) -> Path:
    """Write a `flashbulb` that hands its words to this process, and launchers that start it once for each rank."""
    (folder / "client.py").write_text(_CLIENT, encoding="utf-8")
    scripts = {
        "ray": "true",  # a test starts the cluster
        "flashbulb": f'exec python3 -I -S {folder / "client.py"} "$@"',
        "torchrun": _LAUNCHER.format(rank="RANK", size="WORLD_SIZE"),
        "srun": _LAUNCHER.format(rank="SLURM_PROCID", size="SLURM_NTASKS"),
    }
    scripts |= {name: f"echo {name} is not run by tests >&2; exit 9" for name in _REFUSED}
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def run_shell(
    block: Block, folder: Path, tools: Path, words_of: Callable[[Sequence[str]], list[str]] = list
) -> list[Call]:
    """Run a block with bash in `folder`, once for each element of its Slurm array; no command of it may fail.

    Args:
        words_of: what `flashbulb` is given in place of the words of the page.
    """
    calls: list[Call] = []

    def respond(asked: Asked) -> Answer:
        answer = run_asked(asked._replace(words=words_of(asked.words)))
        calls.append(Call(tuple(asked.words), answer))
        return answer._replace(code=0) if answer.code == 1 else answer  # a verdict, no error

    array = re.search(r"--array=1-(\d+)", block.text)
    for element in range(1, int(array[1]) + 1) if array else (None,):
        extra = {} if element is None else {"SLURM_ARRAY_TASK_ID": str(element)}
        done = run_bash(block.text, folder, tools, {**os.environ, **extra}, respond)
        assert done.code == 0, f"{block.place} ended with {done.code}: {done.err}"
    return calls


def run_asked(asked: Asked) -> Answer:
    """Run `flashbulb` in this process as a script asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(asked.directory)
        for name in filter(_OURS.match, asked.environment):
            patch.setenv(name, asked.environment[name])
        return run_flashbulb(*asked.words)


def run_bash(
    script: str,
    folder: Path,
    tools: Path,
    environment: Mapping[str, str],
    respond: Callable[[Asked], Answer] = run_asked,
    arguments: Sequence[object] = (),
) -> Answer:
    """Run a script until a command fails; `respond` answers every `flashbulb` of it."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as server:
        address = str(Path(place, "s"))  # the path of a socket has to be short
        server.bind(address)
        server.listen()
        server.settimeout(0.02)
        path = f"{tools}:{environment.get('PATH', os.defpath)}"
        variables = {**environment, "PATH": path, "DOCUMENTS_SOCKET": address}
        command = ["bash", "-eo", "pipefail", "-c", script, "script", *map(str, arguments)]
        out, err = (Path(place, name) for name in ("out", "err"))
        with out.open("wb") as said, err.open("wb") as complained:
            bash = subprocess.Popen(command, cwd=folder, env=variables, stdout=said, stderr=complained)
            with bash:
                while bash.poll() is None:
                    _serve(server, respond)
        return Answer(bash.returncode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def _serve(server: socket.socket, respond: Callable[[Asked], Answer]) -> None:
    """Answer the next `flashbulb`, if there is one soon."""
    try:
        connection, _ = server.accept()
    except TimeoutError:
        return
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        answer = respond(Asked(*json.loads(stream.readline())))
        stream.write(json.dumps(answer) + "\n")


def run_python(block: Block, namespace: dict[str, object]) -> None:
    """Run a block in a namespace; errors name its line of the page."""
    exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)
