"""Read `flashbulb.toml`: keys at the top set options of all commands, keys in a table those of one command.

The complete file is checked, whichever command runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from flashbulb.audit.cli.shell.layers import LeafCommand, is_layered, leaf_commands, option_name
from flashbulb.audit.settings import SettingsError
from flashbulb.reports.views.suggestions import nearest_word

SETTINGS_FILE = Path("flashbulb.toml")


class Entry(NamedTuple):
    """A value, and the file, table and key that it comes from, as error messages name them."""

    origin: str
    value: Any


def read_settings_file(root: Any, path: Sequence[str], chosen: Path | None) -> dict[str, Entry]:
    """Read the values that the settings file has for the command at `path`, by parameter name.

    Args:
        root: the group of all commands.
        path: the words that call the command.
        chosen: the file; by default flashbulb.toml in the current directory, if it exists.

    Raises:
        SettingsError: the file cannot be read, or one of its keys or values fits no command.
    """
    file, content = _read(chosen)
    leaves = list(leaf_commands(root))
    _check(file, content, root, leaves, ())
    (command,) = (leaf.command for leaf in leaves if leaf.path == tuple(path))
    entries: dict[str, Entry] = {}
    for depth in range(len(path) + 1):  # the command's own table comes last and takes precedence
        table: Any = content
        for name in path[:depth]:
            subtable = table.get(name)
            table = subtable if isinstance(subtable, dict) else {}
        for key, param, value in _matches(table, command):
            origin = _origin(file, path[:depth], key)
            if is_layered(param):
                entries[param.name] = Entry(origin, value.isoformat() if isinstance(value, date) else value)
    return entries


def _read(chosen: Path | None) -> tuple[Path, dict[str, Any]]:
    file = chosen or SETTINGS_FILE
    if chosen is None and not os.path.lexists(file):  # a link that leads nowhere is a mistake
        return file, {}
    if chosen is None and file.exists() and not file.is_file():
        raise SettingsError(f"{file} is no file; remove it, or pass a TOML file to --config")
    import tomllib

    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be read: {error.strerror or error}; pass a TOML file to --config"
        ) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise SettingsError(f"{file} is not TOML ({error}); fix it, or pass another file to --config") from error


def _matches(table: Mapping[str, Any], command: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, parameter and value of every entry of a table that is an option of a command."""
    params = {option_name(param): param for param in command.params if param.expose_value}
    for key, value in table.items():
        param = params.get(_with_dashes(key))
        if param is not None and not isinstance(value, dict):
            yield key, param, value


def _with_dashes(key: str) -> str:
    """Spell a key like its option: batch_size and batch-size are the same."""
    return key.replace("_", "-")


def _origin(file: Path, path: Sequence[str], key: str) -> str:
    table = f"[{'.'.join(path)}] " if path else ""
    return f"{file}: {table}{key}"


def _check(file: Path, table: Mapping[str, Any], group: Any, leaves: list[LeafCommand], path: tuple[str, ...]) -> None:
    """Check that every key is an option of a command below `path`, and that the option accepts the value.

    Raises:
        SettingsError: a key or value does not fit; names file, table and key.
    """
    first_spelling: dict[str, str] = {}
    for key, value in table.items():
        origin = _origin(file, path, key)
        command = getattr(group, "commands", {}).get(key)
        if isinstance(value, dict):
            if command is None:
                name = ".".join((*path, key))
                raise SettingsError(f"{file}: [{name}] is not a command; {_nearest_command(name, leaves)}")
            _check(file, value, command, [leaf for leaf in leaves if leaf.path[len(path)] == key], (*path, key))
            continue
        if (first := first_spelling.setdefault(_with_dashes(key), key)) != key:
            raise SettingsError(f"{origin} is also given as {first}; keep one of them")
        matches = [(leaf, param) for leaf in leaves for _, param, _ in _matches({key: value}, leaf.command)]
        if not matches:
            raise SettingsError(_unknown_key_message(origin, key, leaves, command is not None, path))
        if not any(is_layered(param) for _, param in matches):
            raise SettingsError(f"{origin} can only be set on the command line; remove the key")
        for leaf, param in matches:
            if is_layered(param):
                _check_value(origin, leaf, param, value)


def _unknown_key_message(
    origin: str, key: str, leaves: list[LeafCommand], is_command: bool, path: tuple[str, ...]
) -> str:
    if is_command:
        return f"{origin} is a command; set its options in a table [{'.'.join((*path, key))}]"
    options = {option_name(param) for leaf in leaves for param in leaf.command.params if is_layered(param)}
    near = nearest_word(_with_dashes(key), options)
    commands = f"flashbulb {' '.join(path)}" if path else "any command"
    return f"{origin} is not an option of {commands}; {f'did you mean {near}?' if near else 'remove it'}"


def _nearest_command(name: str, leaves: list[LeafCommand]) -> str:
    near = nearest_word(name, [".".join(leaf.path) for leaf in leaves])
    return f"did you mean [{near}]?" if near else "`flashbulb --help` lists them"


def _check_value(origin: str, leaf: LeafCommand, param: Any, value: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    command = f"flashbulb {' '.join(leaf.path)}"
    if value == []:
        raise SettingsError(f"{origin} is an empty list; give it a value, or remove the key")
    annotation = str if param.type_descriptor.annotation is datetime else param.type_descriptor.annotation
    try:  # strict JSON refuses a string for a number, but accepts a string for a path
        TypeAdapter(annotation).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise SettingsError(f"{origin}: {reason}, got {value!r}; see `{command} --help`") from error
