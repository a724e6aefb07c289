"""Where the value of an option comes from: command line, environment, settings file or default, in this order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

COMMAND_LINE_ONLY = frozenset({"force", "exit_zero", "allow_pickle", "replay"})
"""Options that delete, hide a failure, run a stranger's code or set all others aside: said, never inherited."""

_FREE_TEXT = frozenset({"prompt", "prompts"})  # values of repeated options that hold spaces
_PREFIX = "ENGRAM"
_KEYS = "audit.cli.keys"
_RANKS = {"COMMANDLINE": 2, "ENVIRONMENT": 1, "DEFAULT_MAP": 0}
Layer = Literal["COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT"]  # names of click's ParameterSource


def option_name(param: Any) -> str:
    """The option as a user writes it, without its dashes: `seeds` for the parameter n_seeds."""
    return str(max(param.opts, key=len)).lstrip("-")


def is_layered(param: Any) -> bool:
    """Whether the environment and the settings file may give it: options, and arguments that may be left out."""
    is_optional = param.param_type_name == "option" or not param.required
    return bool(is_optional and param.expose_value and param.name not in COMMAND_LINE_ONLY)


def variables_of(path: Sequence[str], option: str) -> tuple[str, str]:
    """Environment variables of an option: that of one command, which wins, and that of all commands."""
    return _variable(*path, option), _variable(option)


def _variable(*words: str) -> str:
    return "_".join((_PREFIX, *words)).upper().replace("-", "_")


def listen_to_environment(params: Sequence[Any], path: Sequence[str]) -> None:
    """Let every parameter that may be set so be set by its variables.

    Several values of a repeated option are split at spaces, paths at the system's separator, prompts at line ends.
    """
    for param in params:
        if is_layered(param):
            param.envvar = tuple(dict.fromkeys(variables_of(path, option_name(param))))
            param.show_envvar = True
            if param.name in _FREE_TEXT:
                param.envvar_list_splitter = "\n"


def forbidden_variable(params: Sequence[Any], path: Sequence[str]) -> str | None:
    """Name and way out of a variable that is set for an option which only the command line may give."""
    for param in params:
        if param.name in COMMAND_LINE_ONLY:
            for variable in variables_of(path, option_name(param)):
                if os.environ.get(variable):
                    return f"{variable} is set, but --{option_name(param)} counts on the command line only; unset it"
    return None


class Leaf(NamedTuple):
    """A command that has no commands below it, and the words that call it."""

    path: tuple[str, ...]
    command: Any


def leaves_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every command at or below `command`."""
    below = getattr(command, "commands", None)
    if below is None:
        yield Leaf(path, command)
    for name, one in (below or {}).items():
        yield from leaves_of(one, (*path, name))


def unknown_variables(root: Any) -> list[str]:
    """Variables of the environment that look like an option's and are none's."""
    given = {variable for variable in os.environ if variable.startswith(f"{_PREFIX}_")}
    for leaf in (Leaf((), root), *leaves_of(root)) if given else ():
        known = [param for param in leaf.command.params if is_layered(param) or param.name in COMMAND_LINE_ONLY]
        given -= {variable for param in known for variable in variables_of(leaf.path, option_name(param))}
    return sorted(given)


def keep_keys(context: Any, keys: Mapping[str, str]) -> None:
    """Remember which key of which file gave a parameter its value."""
    context.meta[_KEYS] = dict(keys)


def layer_of(context: Any, name: str) -> Layer:
    """The layer that gave parameter `name` its value."""
    source = context.get_parameter_source(name)
    layer: Layer = "DEFAULT" if source is None else source.name
    return layer


def named_on_command_line(context: Any) -> frozenset[str]:
    """Parameters that the command line gives."""
    return frozenset(name for name in context.params if layer_of(context, name) == "COMMANDLINE")


def origin_of(context: Any, name: str) -> str:
    """What to name in an error about parameter `name`: its option, its variable, or its key in a file."""
    param = next((param for param in context.command.params if param.name == name), None)
    layer = layer_of(context, name)
    if context.params.get("replay") is not None and layer != "COMMANDLINE":
        return f"--replay {context.params['replay']}: settings.{name}"
    if layer == "ENVIRONMENT" and param is not None:
        return next(str(variable) for variable in param.envvar if os.environ.get(variable))
    if layer == "DEFAULT_MAP":
        return str(context.meta[_KEYS][name])
    if param is not None and param.param_type_name == "argument":
        return str(param.name).upper()
    return f"--{(option_name(param) if param is not None else name).replace('_', '-')}"


def weaker_of(context: Any, first: str, second: str) -> str | None:
    """Of two options that exclude each other and are both given, the one of the lower layer; None if of the same."""
    ranks = [_RANKS[layer_of(context, name)] for name in (first, second)]
    if ranks[0] == ranks[1]:
        return None
    return first if ranks[0] < ranks[1] else second


def inherited(context: Any) -> Iterator[tuple[str, str]]:
    """Options that the environment or a file gave, and what gave them."""
    for param in context.command.params:
        if layer_of(context, param.name) in ("ENVIRONMENT", "DEFAULT_MAP"):
            yield f"--{option_name(param)}", origin_of(context, param.name)


def with_origins(context: Any, message: str) -> str:
    """An error's text; options in it that the user did not type are followed by where they come from."""
    notes = [
        f"{option} comes from {origin}"
        for option, origin in inherited(context)
        if re.search(rf"{re.escape(option)}(?![\w-])", message)
    ]
    return f"{message} ({'; '.join(notes)})" if notes else message
