"""Layers that can set an option, highest first: command line, environment, settings file, default."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from flashbulb.audit.settings import MODELS, SettingsError
from flashbulb.reports.tables.stores import CACHE_LIMIT_VARIABLE
from flashbulb.reports.views.suggestions import nearest_word

_TYPED_SETTINGS = {name for model in MODELS for name, option in model.options().items() if option.only_typed}
COMMAND_LINE_ONLY = frozenset({"force", "exit_zero", "replay", *_TYPED_SETTINGS})
"""Options that delete files, hide a failure, run untrusted code or replace all settings."""

_PREFIX = "FLASHBULB"
_ORIGINS = "flashbulb.audit.cli.origins"
_RANKS = {"COMMANDLINE": 2, "ENVIRONMENT": 1, "DEFAULT_MAP": 0}
Layer = Literal["COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT"]  # names of click's ParameterSource


def option_name(param: Any) -> str:
    """Return the option as a user writes it, without dashes: `seeds` for the parameter n_seeds."""
    return str(max(param.opts, key=len)).lstrip("-")


def is_layered(param: Any) -> bool:
    """Return whether the environment and the settings file may set it: most options, and optional arguments."""
    is_optional = param.param_type_name == "option" or not param.required
    return bool(is_optional and param.expose_value and param.name not in COMMAND_LINE_ONLY)


def variables_of(path: Sequence[str], option: str) -> tuple[str, str]:
    """Return the two variables of an option: one for a single command, which takes precedence, one for all commands."""
    return _variable(*path, option), _variable(option)


def _variable(*words: str) -> str:
    return "_".join((_PREFIX, *words)).upper().replace("-", "_")


def bind_variables_(params: Sequence[Any], path: Sequence[str]) -> None:
    """Make every layered parameter read its environment variables.

    Values of a repeated option are split at spaces, paths at the system's separator, prompts at line ends.
    """
    for param in params:
        if is_layered(param):
            param.envvar = tuple(dict.fromkeys(variables_of(path, option_name(param))))
            if _is_free_text(param):
                param.envvar_list_splitter = "\n"


def _is_free_text(param: Any) -> bool:
    """Return whether an option is repeated, and its values are no words to choose from: they can contain spaces."""
    return param.type_descriptor.annotation == list[str] and param._custom_shell_complete is None


def refuse_forbidden_variables(params: Sequence[Any], path: Sequence[str]) -> None:
    """Check that no variable sets an option that only the command line may set.

    Raises:
        SettingsError: a variable does; names it.
    """
    for param in params:
        if param.name in COMMAND_LINE_ONLY:
            for variable in variables_of(path, option_name(param)):
                if os.environ.get(variable):
                    option = option_name(param)
                    raise SettingsError(
                        f"{variable} is set, but --{option} can only be set on the command line; unset it"
                    )


class LeafCommand(NamedTuple):
    """A command without subcommands, and the words that call it."""

    path: tuple[str, ...]
    command: Any


def leaf_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[LeafCommand]:
    """Yield `command`, or if it is a group, every command below it."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield LeafCommand(path, command)
    for name, subcommand in (subcommands or {}).items():
        yield from leaf_commands(subcommand, (*path, name))


def unknown_variables(root: Any) -> dict[str, str | None]:
    """Return the environment variables that start like an option's, in any case, but belong to no option.

    Each comes with the nearest variable that does, None if no name is near.
    """
    given = {name for name in os.environ if name.upper().startswith(f"{_PREFIX}_")} - {CACHE_LIMIT_VARIABLE}
    if not given:
        return {}
    known = {CACHE_LIMIT_VARIABLE}
    for leaf in (LeafCommand((), root), *leaf_commands(root)):
        params = [param for param in leaf.command.params if is_layered(param) or param.name in COMMAND_LINE_ONLY]
        known |= {variable for param in params for variable in variables_of(leaf.path, option_name(param))}
        if given <= known:
            return {}
    options = {variable.removeprefix(f"{_PREFIX}_") for variable in known}
    near = {name: nearest_word(name.upper().removeprefix(f"{_PREFIX}_"), options) for name in sorted(given - known)}
    return {name: None if option is None else f"{_PREFIX}_{option}" for name, option in near.items()}


def remember_origins(context: Any, origins: Mapping[str, str]) -> None:
    """Remember the file, table and key that set each parameter."""
    context.meta[_ORIGINS] = dict(origins)


def layer_of(context: Any, name: str) -> Layer:
    """Return the layer that set parameter `name`."""
    source = context.get_parameter_source(name)
    layer: Layer = "DEFAULT" if source is None else source.name
    return layer


def command_line_parameters(context: Any) -> frozenset[str]:
    """Return the parameters that the command line sets."""
    return frozenset(name for name in context.params if layer_of(context, name) == "COMMANDLINE")


def origin_of(context: Any, name: str) -> str:
    """Return what an error about parameter `name` should name: its option, its variable, or its key in a file."""
    param = next((param for param in context.command.params if param.name == name), None)
    layer = layer_of(context, name)
    if context.params.get("replay") is not None and layer != "COMMANDLINE":
        return f"--replay {context.params['replay']}: settings.{name}"
    if layer == "ENVIRONMENT" and param is not None:
        return next(str(variable) for variable in param.envvar if os.environ.get(variable))
    if layer == "DEFAULT_MAP":
        return str(context.meta[_ORIGINS][name])
    if param is not None and param.param_type_name == "argument":
        return str(param.name).upper()
    return f"--{(option_name(param) if param is not None else name).replace('_', '-')}"


def lower_layer_of(context: Any, first: str, second: str) -> str | None:
    """Return which of two options comes from the lower layer, or None if both come from the same layer."""
    ranks = [_RANKS[layer_of(context, name)] for name in (first, second)]
    if ranks[0] == ranks[1]:
        return None
    return first if ranks[0] < ranks[1] else second


def inherited_options(context: Any) -> Iterator[tuple[str, str]]:
    """Yield each option that the environment or a file sets, and its variable or key."""
    for param in context.command.params:
        if layer_of(context, param.name) in ("ENVIRONMENT", "DEFAULT_MAP"):
            yield f"--{option_name(param)}", origin_of(context, param.name)


def add_origins(context: Any, message: str) -> str:
    """Append to an error message where its options come from, if not from the command line."""
    notes = [
        f"{option} comes from {origin}"
        for option, origin in inherited_options(context)
        if re.search(rf"{re.escape(option)}(?![\w-])", message)
    ]
    return f"{message} ({'; '.join(notes)})" if notes else message
