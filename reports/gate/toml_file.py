"""Read a TOML file written by a person, a policy or waivers. Every mistake is refused in one line."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from flashbulb.reports.tables.files import RunFileError
from flashbulb.reports.views.suggestions import nearest_word

Content = TypeVar("Content", bound=BaseModel)

NO_FINGERPRINT = "{!r} is no fingerprint, which is 16 digits and letters a to f, as `flashbulb gate` prints it"


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
        return model.model_validate(tomllib.loads(text.removeprefix("\ufeff")))  # editors of Windows begin with it
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TomlFileError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # a misspelt key is missing, too
        where = ".".join(map(str, first["loc"])) or "the file"
        if first["type"] == "extra_forbidden":
            raise TomlFileError(f"{path}: {where} is no key; {_nearest_key(str(first['loc'][-1]), model)}") from error
        if first["type"] == "string_pattern_mismatch" and first["loc"][-1] == "fingerprint":
            raise TomlFileError(f"{path}: {where}: {NO_FINGERPRINT.format(first['input'])}") from error
        got = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
        raise TomlFileError(f"{path}: {where}: {first['msg'].lower().removeprefix('value error, ')}{got}") from error


def _nearest_key(key: str, model: type[BaseModel]) -> str:
    """Suggest a key of `model`, or of the tables in it."""
    known = list(_keys_of(model))
    nearest = nearest_word(key.strip().lower().replace("-", "_"), known)
    return f"did you mean {nearest}?" if nearest else f"it has {', '.join(known)}"


def _keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for inner in get_args(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _keys_of(inner)
