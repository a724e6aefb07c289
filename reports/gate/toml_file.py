"""Read a TOML file written by a person, a policy or waivers. Every mistake is refused in one line."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from flashbulb.reports.tables.files import RunFileError

Content = TypeVar("Content", bound=BaseModel)


class TomlFileError(RunFileError):
    """A policy or waiver file that cannot be used (a usage error)."""


def read_toml(path: Path, model: type[Content]) -> Content:
    """Read `path` as `model`.

    Raises:
        TomlFileError: the file is missing, is not TOML, or has an unknown key or an invalid value, which is named.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise TomlFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TomlFileError(f"{path} is not TOML: {error}") from error
    return parse_toml(text, path, model)


def parse_toml(text: str, path: Path, model: type[Content]) -> Content:
    """Parse the `text` of `path` as `model`, as `read_toml` does."""
    try:
        return model.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TomlFileError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
        raise TomlFileError(f"{path}: {where}: {first['msg'].lower().removeprefix('value error, ')}{got}") from error
