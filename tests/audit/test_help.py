"""`--help` of every command is a page of a manual: what it does, every option with its default, examples that run."""

import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.main import get_command

from audit.cli import app
from audit.cli.command import NAME
from audit.cli.help import ROOT_ORDER, SETTINGS, examples_of
from audit.cli.layers import is_layered, leaves_of, option_name, variables_of
from audit.cli.options import detector_names
from audit.config import DescriptorName
from audit.detectors import available
from audit.training.descriptors import PREPROCESSINGS
from tests.audit.commands import ROOT, engram

LEAVES = {" ".join(leaf.path): leaf for leaf in leaves_of(get_command(app))}
MODEL_LESS = {"torch", "diffusers", "transformers", "nnsight", "sklearn", "scipy"}


def page_of(*path: str) -> str:
    """The help as it is printed, without frames, wrapping and escapes."""
    answer = engram(*path, "--help")
    assert answer.code == 0, answer.err
    assert "…" not in answer.out, "nothing is cut at 80 columns"
    return " ".join(re.sub("[│╭╮╰╯─]", " ", answer.out).split())


def parsed(line: str) -> None:
    """Parse a command line as the command does; raises typer's usage error where it cannot."""
    program, *words = shlex.split(line, comments=True)
    assert program == NAME
    command: Any = get_command(app)
    context = command.make_context(NAME, list(words))
    while getattr(command, "commands", None) is not None:
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, words, parent=context)


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_a_summary_examples_and_exit_codes(name: str) -> None:
    docstring = inspect.getdoc(LEAVES[name].command.callback) or ""
    summary, _, rest = docstring.partition("\n")
    assert summary.endswith((".", ":")), "one sentence first"
    assert not rest.strip() or rest.startswith("\n"), "and then a blank line"
    assert examples_of(docstring), f"add a line `Example: engram {name} ...`"
    page = page_of(*LEAVES[name].path)
    assert summary in page
    for part in ("Usage: engram", "Examples:", "Exit codes: 0 ", *map(_joined, examples_of(docstring))):
        assert part in page


def _joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", LEAVES)
def test_examples_parse_against_the_commands_own_options(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = examples_of(inspect.getdoc(LEAVES[name].command.callback))
    for example in examples:
        parsed(example)
    assert examples[0].startswith(f"{NAME} {name}")


@pytest.mark.parametrize(
    "line",
    ["engram audit --nope", "engram audit --seeds many", "engram gate", "engram waivers chek x", "engram audit ... x"],
)
def test_an_example_that_does_not_parse_would_be_found(line: str) -> None:
    with pytest.raises(typer.BadParameter.__base__):
        parsed(line)


def documented_lines() -> list[str]:
    """Command lines in the shell blocks of README and docs; not those with an ellipsis, or that would install."""
    pages = (ROOT / "README.md", ROOT / "reports" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if line.startswith("engram ")]
    return [line for line in lines if " ... " not in line and "completion" not in line]


def test_command_lines_of_the_documentation_parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    lines = documented_lines()
    assert len(lines) > 10
    for line in lines:
        parsed(line)


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_states_what_it_does_its_default_and_its_variable(name: str) -> None:
    path, page = LEAVES[name].path, page_of(*LEAVES[name].path)
    for param in LEAVES[name].command.params:
        assert param.help, f"{param.name} has no help"
        assert _joined(param.help.removesuffix(".")).split(":")[0][:15] in page
        is_option = param.param_type_name == "option"
        shown = page[page.index(f" --{option_name(param)} " if is_option else f" {param.name.upper()} ") :]
        variables = re.findall(r"\[env var: (\w+)\]", shown)
        if is_layered(param):
            assert variables[0] == variables_of(path, option_name(param))[1]
        if is_option:
            end = shown.index(f"{variables[1]}]") if len(variables) > 1 else len(shown)
            assert re.search(r"\[default: |\[required\]|by default", shown[:end]), f"{param.name} states no default"


@pytest.mark.parametrize("name", [name for name in LEAVES if LEAVES[name].path in SETTINGS])
def test_defaults_are_those_of_the_settings(name: str) -> None:
    page, model = page_of(*LEAVES[name].path), SETTINGS[LEAVES[name].path]
    for param in LEAVES[name].command.params:
        default = model.model_fields[param.name].default if param.name in model.model_fields else None
        if isinstance(default, int | float | str) and not isinstance(default, bool):
            of_option = page[page.index(f" --{option_name(param)} ") :]
            assert re.search(r"\[default: (.*?)\]", of_option)[1] == str(default)


def test_the_default_ladder_is_stated_though_it_depends_on_the_sites() -> None:
    assert "[default: sample, ascend, cyclic]" in page_of("audit")


def test_the_root_groups_its_commands() -> None:
    names = list(get_command(app).commands)  # type: ignore[attr-defined]
    assert [name for name in names if name not in ROOT_ORDER] == []
    page = page_of()
    assert "engram.toml" in page
    assert [page.index(f" {panel} ") for panel in dict.fromkeys(ROOT_ORDER.values())] == sorted(
        page.index(f" {panel} ") for panel in dict.fromkeys(ROOT_ORDER.values())
    )


def test_words_that_are_completed_are_those_that_are_taken() -> None:
    assert set(detector_names()) == {"all", "none", *available()}
    assert set(get_args(DescriptorName)) == set(PREPROCESSINGS)


@pytest.mark.parametrize("path", [(), ("audit",), ("discover",), ("waivers", "check")], ids=" ".join)
def test_help_is_quick_and_needs_no_model_libraries(path: Sequence[str]) -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(MODEL_LESS))
    code = (
        f"import sys, time; {blocked}; sys.argv = ['engram', *{list(path)!r}, '--help']\n"
        "started = time.process_time()\n"
        "from audit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, time.process_time() - started, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    exit_code, seconds = done.stderr.split()
    assert exit_code == "0"
    assert float(seconds) < 0.7
