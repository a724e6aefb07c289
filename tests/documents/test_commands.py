"""The commands of pages that only `make test-slow` runs exist, and so do their options and the values of these."""

import ast
import inspect
import re
import shlex
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.audit.commands import command_line
from tests.documents.blocks import SLOW, Block, blocks_of
from tests.documents.folder import ELIDED
from tests.paths import ROOT

USAGE_ERROR: Any = typer.BadParameter.__base__  # typer vendors click under private names


def commands_of(block: Block) -> list[list[str]]:
    """Return the words that a block hands to each `flashbulb` in it."""
    lines = block.text.replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines if re.match(r"(\w+=\S+ )*flashbulb ", line.strip())]
    return [words[words.index("flashbulb") + 1 :] for words in split]


def read_command(words: Sequence[str]) -> None:
    """Read the options of a command as the command line does, without running it."""
    command = command_line(words)
    context = command.make_context("flashbulb", list(words))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def read_python(block: Block, namespace: dict[str, object]) -> None:
    """Make the imports of a block in a namespace, and see that what it calls of them has arguments of these names."""
    tree = ast.parse(block.text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), str(block.page), "exec"), namespace)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        head, *path = ast.unparse(call.func).split(".")
        if head in namespace and all(map(str.isidentifier, path)):
            called = reduce(getattr, path, namespace[head])
            given = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(called).bind_partial(*call.args, **given)


@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.name)
def test_the_commands_of_a_slow_page_exist(page: Path) -> None:
    namespace: dict[str, object] = {}
    commands = []
    for block in blocks_of(page):
        if block.is_run and block.language == "python":
            read_python(block, namespace)
        elif block.is_run:
            found = commands_of(block)
            assert len(found) == len(re.findall(r"^(?!#).*\bflashbulb +[^#\s]", block.text, re.MULTILINE)), block.place
            commands += found
    for words in commands:
        if words != ["--install-completion"]:  # which installs as soon as it is read
            read_command([word for given in words for word in (ELIDED if given == "..." else [given])])
    assert namespace or commands


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "--nothing", "1"],
        ["nothing", "runs/mine"],
        ["audit", "--seeds", "many"],
        ["waivers", "nothing"],
        ["gate"],
    ],
    ids=" ".join,
)
def test_a_command_that_does_not_exist_is_told(words: list[str]) -> None:
    with pytest.raises(USAGE_ERROR):
        read_command(words)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import flashbulb\nflashbulb.nothing()", AttributeError),
        ("from flashbulb import nothing", ImportError),
        ("import flashbulb\nflashbulb.run_audit(nothing=1)", TypeError),
    ],
)
def test_python_that_calls_what_does_not_exist_is_told(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_python(Block(ROOT / "README.md", 1, "python", text, None), {})
