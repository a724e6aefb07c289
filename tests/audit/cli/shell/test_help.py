"""`--help` of every command says what it does, shows every option with its default, and gives examples that parse."""

import inspect
import re
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.main import get_command

from flashbulb.audit.cli import app
from flashbulb.audit.cli.shell.command import NAME
from flashbulb.audit.cli.shell.help import COMMAND_PANELS, MAX_COMMON, examples_of
from flashbulb.audit.cli.shell.layers import leaf_commands, option_name
from flashbulb.audit.detectors import find_detectors
from flashbulb.audit.settings import (
    AblateSettings,
    AuditSettings,
    CompareSettings,
    DescriptorName,
    DiscoverSettings,
    LocalizeSettings,
    PullSettings,
    Settings,
    detector_names,
)
from flashbulb.audit.training_images.descriptors import PREPROCESSINGS
from tests.audit.cli.start_costs import FAST, SLOW_TO_IMPORT, loaded_by, measure_fast
from tests.audit.commands import ROOT, command_line, run_flashbulb

SETTINGS: dict[str, type[Settings]] = {
    **dict.fromkeys(("audit", "record", "validate", "calibrate"), AuditSettings),
    "discover": DiscoverSettings,
    "localize": LocalizeSettings,
    "ablate": AblateSettings,
    "compare": CompareSettings,
    "pull": PullSettings,
}
LEAVES = {" ".join(leaf.path): leaf for leaf in leaf_commands(get_command(app))}


@cache
def page_of(*path: str, option: str = "--help-all") -> str:
    """Return the printed help, without frames and line wrapping."""
    answer = run_flashbulb(*path, option)
    assert answer.code == 0, answer.err
    assert "…" not in answer.out, "something is truncated at 80 columns"
    return " ".join(re.sub("[│╭╮╰╯─]", " ", answer.out).split())


def listed(page: str) -> str:
    """Return the part of a help page that lists arguments and options."""
    start = min(page.index(f" {panel} ") for panel in ("Arguments", "Options") if f" {panel} " in page)
    return page[start : page.index("Examples:")]


def parse_line(line: str) -> None:
    """Parse a command line as the command would; raises typer's usage error if it is invalid."""
    program, *words = shlex.split(line, comments=True)
    assert program == NAME
    command = command_line(words)
    context = command.make_context(NAME, list(words))
    while getattr(command, "commands", None) is not None:
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, words, parent=context)


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_a_summary_examples_and_exit_codes(name: str) -> None:
    docstring = inspect.getdoc(LEAVES[name].command.callback) or ""
    summary, _, rest = docstring.partition("\n")
    assert summary.endswith((".", ":")), "the first line is one sentence"
    assert not rest.strip() or rest.startswith("\n"), "a blank line follows"
    assert examples_of(docstring), f"add a line `Example: flashbulb {name} ...`"
    page = page_of(*LEAVES[name].path)
    assert summary in page
    for part in ("Usage: flashbulb", "Examples:", "Exit codes: 0 ", *map(_joined, examples_of(docstring))):
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
        parse_line(example)
    assert examples[0].startswith(f"{NAME} {name}")


@pytest.mark.parametrize(
    "line",
    [
        "flashbulb audit --nope",
        "flashbulb audit --seeds many",
        "flashbulb gate",
        "flashbulb waivers chek x",
        "flashbulb audit ... x",
    ],
)
def test_invalid_example_would_be_found(line: str) -> None:
    with pytest.raises(typer.BadParameter.__base__):
        parse_line(line)


def documented_lines() -> list[str]:
    """Return the command lines in the shell blocks of README and docs, except those that elide options or install."""
    pages = (ROOT / "README.md", ROOT / "reports" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if line.startswith("flashbulb ")]
    return [line for line in lines if " ... " not in line and "completion" not in line]


def test_command_lines_of_the_documentation_parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    lines = documented_lines()
    assert len(lines) > 10
    for line in lines:
        parse_line(line)


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_shows_help_and_default(name: str) -> None:
    page = listed(page_of(*LEAVES[name].path))
    for param in LEAVES[name].command.params:
        assert param.help, f"{param.name} has no help"
        assert _joined(param.help.removesuffix(".")).split(":")[0][:15] in page
        is_option = param.param_type_name == "option"
        shown = page[page.index(f" --{option_name(param)} " if is_option else f" {param.name.upper()} ") :]
        if is_option:
            end = re.search(r" --(?!help)[a-z-]+ +[A-Z<]", shown[3:])
            mine = shown[: end.start() + 3 if end else len(shown)]
            assert re.search(r"\[default: |\[required\]|by default", mine), f"{param.name} shows no default"


@pytest.mark.parametrize("name", LEAVES)
def test_help_shows_at_most_ten_options_and_names_the_page_with_all(name: str) -> None:
    options = [param for param in LEAVES[name].command.params if param.param_type_name == "option"]
    short, long = (listed(page_of(*LEAVES[name].path, option=option)) for option in ("--help", "--help-all"))
    shown = [option for option in options if f" --{option_name(option)} " in short]
    assert 1 <= len(shown) <= MAX_COMMON
    assert all(option in shown for option in options if option.required)
    assert all(f" --{option_name(option)} " in long for option in options)
    assert (f"--help-all shows all {len(options)} options" in short) == (len(shown) < len(options))


def test_help_of_an_audit_shows_what_a_first_audit_needs() -> None:
    shown = re.findall(r" --([a-z-]+) ", listed(page_of("audit", option="--help")))
    first = ["model", "prompts", "reference", "train-images", "out", "fpr", "samples", "device", "policy", "gate"]
    assert [name for name in shown if not name.startswith("help")] == first


@pytest.mark.parametrize("path", [(), *(leaf.path for leaf in LEAVES.values()), ("waivers",)], ids=" ".join)
def test_help_shows_no_variables_and_no_type_beside_flags(path: Sequence[str]) -> None:
    page = page_of(*path)
    assert "env var" not in page
    assert "<bool>" not in page


@pytest.mark.parametrize("name", SETTINGS)
def test_shown_defaults_are_those_of_the_settings(name: str) -> None:
    page, model = page_of(name), SETTINGS[name]
    for param in LEAVES[name].command.params:
        default = model.model_fields[param.name].default if param.name in model.model_fields else None
        if isinstance(default, int | float | str) and not isinstance(default, bool):
            shown = page[page.index(f" --{option_name(param)} ") :]
            assert re.search(r"\[default: (.*?)\]", shown)[1] == str(default)


def test_default_strategies_are_shown_although_they_depend_on_the_sites() -> None:
    assert "[default: sample, ascend, cyclic]" in page_of("audit")


def test_every_option_is_described_in_the_documentation() -> None:
    pages = [ROOT / "README.md", ROOT / "reports" / "README.md", *(ROOT / "docs").glob("*.md")]
    words = set(
        re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", "\n".join(page.read_text(encoding="utf-8") for page in pages))
    )
    options = {
        (path, param.opts[-1], *param.secondary_opts)
        for path, leaf in LEAVES.items()
        for param in leaf.command.params
        if param.param_type_name == "option"
    }
    assert options
    assert not sorted(names for names in options if not words.intersection(names[1:]))


def test_the_root_groups_its_commands() -> None:
    names = list(get_command(app).commands)  # type: ignore[attr-defined]
    assert [name for name in names if name not in COMMAND_PANELS] == []
    page = page_of()
    assert "flashbulb.toml" in page
    assert [page.index(f" {panel} ") for panel in dict.fromkeys(COMMAND_PANELS.values())] == sorted(
        page.index(f" {panel} ") for panel in dict.fromkeys(COMMAND_PANELS.values())
    )


def test_completed_words_are_the_accepted_ones() -> None:
    assert set(detector_names()) == {"all", "none", *find_detectors()}
    assert set(get_args(DescriptorName)) == set(PREPROCESSINGS)


def test_help_is_quick_and_needs_no_model_libraries() -> None:
    started, ratio = measure_fast("audit", "--help")
    assert started.code == 0
    assert ratio < FAST
    pages = (("--help",), ("discover", "--help"), ("waivers", "check", "--help"))
    assert not loaded_by(*pages) & SLOW_TO_IMPORT  # a page that loads nothing slow starts as fast
