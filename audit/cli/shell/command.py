"""Base of every `flashbulb` command: layered options, help that shows defaults, and one-line errors."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from flashbulb.audit.cli.shell.help import (
    COMMAND_PANELS,
    HELP_ALL,
    common_of,
    epilog_of,
    fold_negatives_,
    name_help_all_,
    prose_of,
    show_choices_,
    show_defaults_,
    sort_into_panels_,
)
from flashbulb.audit.cli.shell.layers import (
    add_origins,
    bind_variables_,
    inherited_options,
    is_layered,
    option_name,
    origin_of,
    refuse_forbidden_variables,
    remember_origins,
    unknown_variables,
)
from flashbulb.audit.cli.shell.settings_file import read_settings_file
from flashbulb.audit.cli.shell.signals import InterruptedEarly, interrupt_code, interrupts_as_errors
from flashbulb.audit.cli.shell.stored import fetch_stored_
from flashbulb.audit.run.shortage import describe_shortage
from flashbulb.audit.settings import SettingsError
from flashbulb.reports.tables.stores import StoreError, with_uris
from flashbulb.reports.views.text import visible_text

logger = logging.getLogger(__name__)

NAME = "flashbulb"
EXIT_USAGE = 2
_EXTRA_ARGUMENT = "Got unexpected extra argument(s) ("  # words of click
_NUMBERS = {
    **dict.fromkeys(("int_parsing", "int_from_float"), "a whole number"),
    "float_parsing": "a number",
}
"""What a value should be, by the type of pydantic's error."""
_LONGEST_LINE = 1000  # characters of an error message, which may quote an untrusted file
_UsageError: Any = typer.BadParameter.__base__  # typer vendors click under private names
Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose options can come from the environment or flashbulb.toml; it logs those that do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self._shows_all = HELP_ALL in args
        path = ctx.command_path.split()[1:]
        is_replay = any(arg == "--replay" or arg.startswith("--replay=") for arg in args)
        if not is_replay:  # a replay takes all settings from its run
            bind_variables_(self.params, path)
        if not is_replay and not ctx.resilient_parsing and not {"-h", "--help", HELP_ALL} & set(args):
            refuse_forbidden_variables(self.params, path)
            root = ctx.find_root()
            for variable, near in unknown_variables(root.command).items():
                hint = f"; did you mean {near}?" if near else ""
                logger.warning("%s is set, but matches no option of any command%s", variable, hint)
            entries = read_settings_file(root.command, path, root.params["config"])
            ctx.default_map = {name: entry.value for name, entry in entries.items()}
            remember_origins(ctx, {name: entry.origin for name, entry in entries.items()})
        rest = super().parse_args(ctx, args)
        if origins := [f"{option} from {origin}" for option, origin in inherited_options(ctx)]:
            logger.info("settings: %s", ", ".join(origins))
        return rest

    def invoke(self, ctx: Any) -> Any:
        fetch_stored_(ctx)
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        path = tuple(ctx.command_path.split()[1:])
        params: list[Any] = self.params
        for param in params:
            if param.param_type_name == "argument":
                param.metavar = param.name.upper()
            param.show_envvar = False  # the epilog explains their names
        show_defaults_(self.params, vars(self.callback).get("setting_defaults", {}), path)
        show_choices_(self.params)
        fold_negatives_(self.params)
        shown = self.params if self._shows_all else common_of(self.params)
        n_options, n_shown = (sum(p.param_type_name == "option" for p in params) for params in (self.params, shown))
        name_help_all_(self.get_help_option(ctx), n_options, n_shown)
        self.params = sort_into_panels_(shown)
        self.help, self.epilog = prose_of(self.help), epilog_of(self.help, path)
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        params: list[Any] = self.params
        for param in params:
            param.show_envvar = False
        show_choices_(self.params)
        name_help_all_(self.get_help_option(ctx), 0, 0)
        super().format_help(ctx, formatter)


class Root(Group):
    """The group of all commands. Turns every usage error into one line and exit code 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        bind_variables_(self.params, ())
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        names = list(COMMAND_PANELS)
        return sorted(self.commands, key=lambda name: names.index(name) if name in names else len(names))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for name, command in self.commands.items():
            vars(command)["rich_help_panel"] = COMMAND_PANELS.get(name)  # the common base class does not declare it
        self.help, self.epilog = prose_of(self.help), epilog_of(self.help, ())
        super().format_help(ctx, formatter)

    def make_context(self, *args: Any, **options: Any) -> Any:
        with interrupts_as_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with interrupts_as_errors():
            return super().invoke(ctx)

    def main(self, *args: Any, **options: Any) -> Any:
        options |= {"prog_name": NAME, "standalone_mode": False}
        try:
            code = super().main(*args, **options)
        except (_UsageError, SettingsError, StoreError) as error:
            code = EXIT_USAGE
            if line := _usage_line(error):  # empty if the help was shown because there are no arguments
                print_error(line)
        except InterruptedEarly:
            code = interrupt_code()
            print_error("interrupted")
        except SystemExit as error:  # a closed pipe, for which click exits with 1, as if a gate had failed
            code = 0 if isinstance(error.__context__, BrokenPipeError) else error.code
        except OSError as error:  # the help cannot be written
            code = EXIT_USAGE
            print_error(str(describe_shortage(error)))
        sys.exit(code)


class CommandLine(typer.Typer):
    """A typer application whose commands are layered."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        return super().command(name, cls=Command, **options)


def print_error(message: str) -> None:
    """Print one line to stderr. Where that cannot be written, the exit code alone tells what happened."""
    with suppress(OSError):
        typer.echo(f"{NAME}: {visible_text(' '.join(with_uris(message).split()), _LONGEST_LINE)}", err=True)


def _usage_line(error: Any) -> str:
    """Return the message of a usage error, which names the option, variable or key that caused it."""
    if isinstance(error, SettingsError | StoreError):
        return str(error)
    param, cause = getattr(error, "param", None), error.__cause__
    if param is not None and not error.message:
        return _missing_line(error.ctx, param)
    if param is not None:
        said = _no_number(cause) if isinstance(cause, ValidationError) else None
        return f"{origin_of(error.ctx, param.name)}: {said or error.message.removeprefix('Value error, ')}"
    if isinstance(cause, ValidationError):
        first: Any = cause.errors(include_url=False)[0]
        got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
        return f"{origin_of(error.ctx, str(first['loc'][0]))}: {first['msg'].removeprefix('Value error, ')}{got}"
    if cause is not None:
        return add_origins(error.ctx, str(cause))
    return _misplaced_line(error.ctx, str(error.format_message()))


def _no_number(error: ValidationError) -> str | None:
    """Return that a value is no number, nor the word that its setting takes as well; None for another error."""
    first, *others = error.errors(include_url=False)
    number = _NUMBERS.get(first["type"])
    if number is None:
        return None
    words = [other["ctx"]["expected"].strip("'") for other in others if other["type"] == "literal_error"]
    return f"{first['input']!r} is {'neither' if words else 'not'} {' nor '.join([number, *words])}"


def _misplaced_line(context: Any, message: str) -> str:
    """Suggest the option of a file that was given without one, if the message complains of that."""
    options = {option_name(param) for param in context.command.params} if context is not None else set()
    word = message.removeprefix(_EXTRA_ARGUMENT).rstrip(")")
    if not message.startswith(_EXTRA_ARGUMENT) or " " in word or not {"model", "prompts"} <= options:
        return message
    path = Path(word)
    is_model = path.suffix == ".safetensors" or (path / "model_index.json").is_file()
    option = "model" if is_model else "prompts"
    return f"{context.command_path} takes no argument {word}; did you mean `--{option} {word}`?"


def _missing_line(context: Any, param: Any) -> str:
    name = origin_of(context, param.name)
    if is_layered(param):
        return f"{name} is missing; pass it, set {param.envvar[-1]}, or add it to flashbulb.toml"
    return f"{name} is missing; see `{context.command_path} --help` for an example"
