"""Read what a person wrote in TOML: a policy or waivers, refused in one line where it cannot be understood."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from reports.files import RunFileError

Content = TypeVar("Content", bound=BaseModel)


class TomlFileError(RunFileError):
    """A file that a person wrote and that cannot be used; like a directory that is no run, a usage error."""


def read_toml(path: Path, model: type[Content]) -> Content:
    """Read `path` as `model`; what is not TOML, an unknown key or an impossible value is named with its place."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise TomlFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TomlFileError(f"{path} is not TOML: {error}") from error
    return parse_toml(text, path, model)


def parse_toml(text: str, path: Path, model: type[Content]) -> Content:
    """The `text` of `path` as `model`."""
    try:
        return model.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TomlFileError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
        raise TomlFileError(f"{path}: {where}: {first['msg'].lower().removeprefix('value error, ')}{got}") from error
