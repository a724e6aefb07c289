"""How a setting is declared: a field with type, bounds, description and default, and its option on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, field_serializer, field_validator

from flashbulb.reports.tables.stores import as_uri, local_path

Panel = Literal["Inputs", "Neurons", "Scores", "Search", "Images", "Ascents", "Judgement", "Machine", "Output"]
PANELS: tuple[Panel, ...] = get_args(Panel)
"""Panels of options in `--help`, in their order."""


class SettingsError(ValueError):
    """Settings that are invalid or contradict each other. The message says how to fix them."""


@dataclass(frozen=True, slots=True)
class Option:
    """The option of a setting. The field's description is its help; variable and file key have the name of the option.

    Args:
        name: where it is not the name of the field; the field n_seeds is the option --seeds.
        words: what a shell completes, where the type does not list the values.
        is_argument: given by position, without a name.
        is_optional: the command fills in a field that has no default.
        changes_result: False keeps it out of identities, so that another value resumes the same results. False for
            paths, inputs compared by their hashes, what changes a result only by rounding, and verdict and page.
        only_typed: neither the environment nor a file may set it.
        can_run_code: a run directory, which may be somebody else's, does not restore it.
    """

    panel: Panel
    name: str = ""
    words: Callable[[], Iterable[str]] | None = None
    is_argument: bool = False
    is_optional: bool = False
    changes_result: bool = True
    only_typed: bool = False
    can_run_code: bool = False


class Settings(BaseModel):
    """Settings that belong together; a setting is a field, and one with an `Option` is on the command line as well."""

    # `--help` builds no validator; JSON, as which a run keeps its settings, has no infinity
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        """Take a path as text, and a URI of an object store as the path in the cache to which it is fetched."""
        if isinstance(value, list | tuple):
            return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
        path = local_path(value) if isinstance(value, str | Path) else None
        text = os.fspath(path or value) if isinstance(value, str | os.PathLike) else value
        if isinstance(text, str) and "\0" in text:
            raise ValueError(f"{text!r} holds a NUL character, which no path does; remove it")
        return text

    @field_serializer("*", mode="wrap", when_used="json")
    def _as_uri(self, value: Any, serialize: SerializerFunctionWrapHandler) -> Any:
        """Write a path in the cache as its URI, which is the same on every machine."""
        return as_uri(value) if isinstance(value, str | Path) else serialize(value)

    @property
    def per_call(self) -> int:
        """The batch size that is tried first, of settings that have one: auto is its default."""
        batch_size = vars(self)["batch_size"]
        return int(type(self).model_fields["batch_size"].default if batch_size == "auto" else batch_size)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return the options of all settings that have one, by field."""
        marks = {name: field.metadata for name, field in cls.model_fields.items()}
        return {name: mark for name, metadata in marks.items() for mark in metadata if isinstance(mark, Option)}

    def chosen_options(self) -> dict[str, str]:
        """Return the options that differ from their defaults, such as `--seeds`, by setting."""
        chosen, values = {}, vars(self)
        for name, option in self.options().items():
            field = type(self).model_fields[name]
            is_default = not field.is_required() and values[name] == field.get_default(
                call_default_factory=True, validated_data=values
            )
            if values[name] is not None and not is_default:
                chosen[name] = f"--{option.name or name.replace('_', '-')}"
        return chosen

    @classmethod
    def never_restored(cls) -> frozenset[str]:
        """Return the settings that can run code: they are typed, never taken from a run that may be untrusted."""
        return frozenset(name for name, option in cls.options().items() if option.can_run_code)

    def identity(self, stage: type[Settings] | None = None) -> dict[str, Any]:
        """Return what results depend on, as JSON values.

        Args:
            stage: the settings of one stage, from which this class inherits; all settings if left out.
        """
        chosen: type[Settings] = stage or type(self)
        unchanging = {name for name, option in chosen.options().items() if not option.changes_result}
        return self.model_dump(mode="json", include=chosen.model_fields.keys() - unchanging)
