"""`engram.toml`: options of all commands at its top, those of one command in a table; checked as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from audit.cli.layers import Leaf, is_layered, leaves_of, option_name
from audit.config import SettingsError

SETTINGS_FILE = Path("engram.toml")


class Entry(NamedTuple):
    """A value and what an error calls it: file, table and key."""

    origin: str
    value: Any


def settings_of(root: Any, path: Sequence[str], chosen: Path | None) -> dict[str, Entry]:
    """What the settings file gives to the command at `path`, by parameter; nothing where there is no file.

    Args:
        root: the group of all commands.
        chosen: the file, by default engram.toml in the current directory if it exists.

    Raises:
        SettingsError: the file cannot be read, or any key or value of it is none of a command's.
    """
    file, content = _read(chosen)
    leaves = list(leaves_of(root))
    _check(file, content, root, leaves, ())
    (command,) = (leaf.command for leaf in leaves if leaf.path == tuple(path))
    entries: dict[str, Entry] = {}
    for depth in range(len(path) + 1):  # the table of the command itself comes last and wins
        table: Any = content
        for name in path[:depth]:
            below = table.get(name)
            table = below if isinstance(below, dict) else {}
        for key, param, value in _matches(table, command):
            origin = _origin(file, path[:depth], key)
            if is_layered(param):
                entries[param.name] = Entry(origin, value.isoformat() if isinstance(value, date) else value)
    return entries


def _read(chosen: Path | None) -> tuple[Path, dict[str, Any]]:
    file = chosen or SETTINGS_FILE
    if chosen is None and not file.is_file():
        return file, {}
    import tomllib

    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}; give --config a TOML file") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise SettingsError(f"{file} is not TOML ({error}); mend it, or give --config another file") from error


def _matches(table: Mapping[str, Any], command: Any) -> Iterator[tuple[str, Any, Any]]:
    """Key, parameter and value of what a table gives to a command."""
    params = {option_name(param): param for param in command.params if param.expose_value}
    for key, value in table.items():
        param = params.get(_spelled(key))
        if param is not None and not isinstance(value, dict):
            yield key, param, value


def _spelled(key: str) -> str:
    """A key as the option is spelled: batch_size and batch-size are the same."""
    return key.replace("_", "-")


def _origin(file: Path, path: Sequence[str], key: str) -> str:
    table = f"[{'.'.join(path)}] " if path else ""
    return f"{file}: {table}{key}"


def _check(file: Path, table: Mapping[str, Any], group: Any, leaves: list[Leaf], path: tuple[str, ...]) -> None:
    """Every key is an option of some command below `path`, and every value one that it takes."""
    spelled: dict[str, str] = {}
    for key, value in table.items():
        origin = _origin(file, path, key)
        below = getattr(group, "commands", {}).get(key)
        if isinstance(value, dict):
            if below is None:
                name = ".".join((*path, key))
                raise SettingsError(f"{file}: [{name}] is no command; {_nearest_command(name, leaves)}")
            _check(file, value, below, [leaf for leaf in leaves if leaf.path[len(path)] == key], (*path, key))
            continue
        if (first := spelled.setdefault(_spelled(key), key)) != key:
            raise SettingsError(f"{origin} is given as {first}, too; keep one of them")
        takers = [(leaf, param) for leaf in leaves for _, param, _ in _matches({key: value}, leaf.command)]
        if not takers:
            raise SettingsError(_unknown(origin, key, leaves, below is not None, path))
        if not any(is_layered(param) for _, param in takers):
            raise SettingsError(f"{origin} counts on the command line only; remove the key")
        for leaf, param in takers:
            if is_layered(param):
                _check_value(origin, leaf, param, value)


def _unknown(origin: str, key: str, leaves: list[Leaf], is_command: bool, path: tuple[str, ...]) -> str:
    if is_command:
        return f"{origin} is a command; write its options in a table [{'.'.join((*path, key))}]"
    from difflib import get_close_matches

    known = {option_name(p) for leaf in leaves for p in leaf.command.params if is_layered(p)}
    near = get_close_matches(_spelled(key), sorted(known), 1)
    of = f"engram {' '.join(path)}" if path else "any command"
    return f"{origin} is no option of {of}; {f'did you mean {near[0]}?' if near else 'remove it'}"


def _nearest_command(name: str, leaves: list[Leaf]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, [".".join(leaf.path) for leaf in leaves], 1)
    return f"did you mean [{near[0]}]?" if near else "`engram --help` lists them"


def _check_value(origin: str, leaf: Leaf, param: Any, value: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    command = f"engram {' '.join(leaf.path)}"
    if value == []:
        raise SettingsError(f"{origin} is an empty list; give it a value, or leave the key out")
    annotation = str if param.type_descriptor.annotation is datetime else param.type_descriptor.annotation
    try:  # as JSON, where strict means that a number is no string, but a string may be a path
        TypeAdapter(annotation).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        what = error.errors(include_url=False)[0]["msg"]
        raise SettingsError(f"{origin}: {what}, got {value!r}; `{command} --help` says what it takes") from error
