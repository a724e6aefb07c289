"""What every command of `engram` has: layered options, help with defaults, and errors of one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from audit.cli.help import ROOT_ORDER, epilog_of, prose_of, sorted_into_panels, state_choices, state_defaults
from audit.cli.layers import (
    forbidden_variable,
    inherited,
    is_layered,
    keep_keys,
    listen_to_environment,
    origin_of,
    unknown_variables,
    with_origins,
)
from audit.cli.settings_file import settings_of
from audit.config import SettingsError
from reports.text import visible_text

logger = logging.getLogger(__name__)

NAME = "engram"
EXIT_USAGE = 2
_LONGEST_LINE = 1000  # characters of an error message, which may quote a stranger's file
_UsageError: Any = typer.BadParameter.__base__  # typer carries its own click, whose names are private
Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose options are filled from the layers, which it says on stderr."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        path = ctx.command_path.split()[1:]
        is_replay = any(arg == "--replay" or arg.startswith("--replay=") for arg in args)
        if not is_replay:  # a replay takes everything from its run
            listen_to_environment(self.params, path)
        if not is_replay and not ctx.resilient_parsing and "--help" not in args:
            if (forbidden := forbidden_variable(self.params, path)) is not None:
                raise SettingsError(forbidden)
            root = ctx.find_root()
            for variable in unknown_variables(root.command):
                logger.warning("%s is set, but no option of any command has that name", variable)
            entries = settings_of(root.command, path, root.params["config"])
            ctx.default_map = {name: entry.value for name, entry in entries.items()}
            keep_keys(ctx, {name: entry.origin for name, entry in entries.items()})
        rest = super().parse_args(ctx, args)
        if origins := [f"{option} from {origin}" for option, origin in inherited(ctx)]:
            logger.info("settings: %s", ", ".join(origins))
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        path = tuple(ctx.command_path.split()[1:])
        for param in self.params:
            if param.param_type_name == "argument":
                param.metavar = param.name.upper()
            if isinstance(param.envvar, tuple):  # the one of all commands; the epilog tells of the other
                param.envvar = param.envvar[-1]
        state_defaults(self.params, path)
        state_choices(self.params)
        self.params = sorted_into_panels(self.params)
        self.help, self.epilog = prose_of(self.help), epilog_of(self.help, path)
        super().format_help(ctx, formatter)


class Root(TyperGroup):
    """The group of all commands: its own variables, and every usage error as one line and 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        listen_to_environment(self.params, ())
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        names = list(ROOT_ORDER)
        return sorted(self.commands, key=lambda name: names.index(name) if name in names else len(names))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for name, command in self.commands.items():
            vars(command)["rich_help_panel"] = ROOT_ORDER.get(name)  # groups and commands have it, their base not
        self.help, self.epilog = prose_of(self.help), epilog_of(self.help, ())
        super().format_help(ctx, formatter)

    def main(self, *args: Any, **options: Any) -> Any:
        options |= {"prog_name": NAME, "standalone_mode": False}
        try:
            code = super().main(*args, **options)
        except (_UsageError, SettingsError) as error:
            code = EXIT_USAGE
            if line := _usage_line(error):  # without arguments it is empty: the help was shown
                say_error(line)
        sys.exit(code)


class CommandLine(typer.Typer):
    """A typer application whose commands are layered."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        return super().command(name, cls=Command, **options)


def say_error(message: str) -> None:
    """Print one line to stderr."""
    typer.echo(f"{NAME}: {visible_text(' '.join(message.split()), _LONGEST_LINE)}", err=True)


def _usage_line(error: Any) -> str:
    """What is wrong, named by what gave it: the option typed, a variable, a key of a file."""
    if isinstance(error, SettingsError):
        return str(error)
    param, cause = getattr(error, "param", None), error.__cause__
    if param is not None and not error.message:
        return _missing(error.ctx, param)
    if param is not None:
        return f"{origin_of(error.ctx, param.name)}: {error.message.removeprefix('Value error, ')}"
    if isinstance(cause, ValidationError):
        first = cause.errors(include_url=False)[0]
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        return f"{origin_of(error.ctx, str(first['loc'][0]))}: {first['msg']}{got}"
    return with_origins(error.ctx, str(cause)) if cause is not None else str(error.format_message())


def _missing(context: Any, param: Any) -> str:
    name = origin_of(context, param.name)
    if is_layered(param):
        return f"{name} is missing; give it, set {param.envvar[-1]}, or write it in engram.toml"
    return f"{name} is missing; `{context.command_path} --help` has an example"
