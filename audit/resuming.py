"""Go on with a run directory: its settings with what is to change, and what of it is done already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from audit.config import AuditSettings
from audit.identity import detection_identity
from audit.recorded_run import open_recorded
from audit.rundir import DETECTION, RunDirectory, RunDirectoryError
from reports.files import sha256_of
from reports.run_record import COMPLETE, DETECTED, RECORDED

_TO_BE_GIVEN_AGAIN = {"allow_pickle", "descriptor_weights"}
"""A run directory may be a stranger's, and both can run code."""


def settings_of(run: RunDirectory, changes: Mapping[str, Any]) -> AuditSettings:
    """The settings that the directory states, some of them changed; it is itself their `out`.

    Raises:
        RunDirectoryError: it states none, or none that can be read.
        ValidationError: of `changes`.
    """
    stated = run.record.get("settings")
    if not isinstance(stated, Mapping):
        raise RunDirectoryError(f"{run.path} states no settings; finish it with the command that began it")
    kept = {name: value for name, value in stated.items() if name not in _TO_BE_GIVEN_AGAIN}
    try:
        held = AuditSettings.model_validate({**kept, "out": run.path})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RunDirectoryError(f"{run.path} states settings that are none: {where}: {first['msg']}") from error
    return AuditSettings.model_validate({**held.model_dump(), **changes}) if changes else held


def is_recorded(directory: Path, status: str | None, settings: AuditSettings) -> bool:
    """Whether a directory of this status needs no recording, its shards being whole."""
    if status not in (RECORDED, DETECTED, COMPLETE):
        return False
    try:
        open_recorded(directory, settings)
    except RunDirectoryError:
        return False
    return True


def is_detected(run: RunDirectory, settings: AuditSettings) -> bool:
    """Whether detection with these settings is there, with every table that run.json vouches for."""
    record, path = run.record, run.path
    if record.get("status") not in (DETECTED, COMPLETE) or record["settings"].get("strict") != settings.strict:
        return False
    if record["identity"].get(DETECTION) != detection_identity(settings):
        return False
    tables = record.get("tables")
    if not isinstance(tables, Mapping) or not tables:
        return False
    return all((path / name).is_file() and sha256_of(path / name) == digest for name, digest in tables.items())
