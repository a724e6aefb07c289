"""What only the people behind a model know about its release, as they state it in a TOML file."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flashbulb.reports.gate.toml_file import read_toml

Statement = Annotated[str, Field(min_length=1, max_length=2000)] | None


class ReleaseContext(BaseModel):
    """Statements for the annex; what is missing is shown as not stated. Each description is a row of the annex."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model_name: Annotated[Statement, Field(description="Name of the model")] = None
    model_version: Annotated[Statement, Field(description="Version")] = None
    provider: Annotated[Statement, Field(description="Provider")] = None
    controller: Annotated[Statement, Field(description="Data controller")] = None
    purpose: Annotated[Statement, Field(description="Purpose")] = None
    training_data: Annotated[Statement, Field(description="Training data")] = None
    release: Annotated[Statement, Field(description="How and to whom it is released")] = None
    access: Annotated[Statement, Field(description="What users can reach (weights, an interface, filters)")] = None
    assessor: Annotated[Statement, Field(description="Who carried out the audit")] = None
    contact: Annotated[Statement, Field(description="Contact")] = None

    def rows(self) -> tuple[tuple[str, str | None], ...]:
        """Return every field: its description, and what is stated."""
        return tuple((str(field.description), getattr(self, name)) for name, field in type(self).model_fields.items())


def read_context(path: Path | None) -> ReleaseContext:
    """Read the context. Without a file, nothing is stated.

    Raises:
        TomlFileError: the file is missing, is not TOML, or has an unknown key or an invalid value, which is named.
    """
    return ReleaseContext() if path is None else read_toml(path, ReleaseContext)
