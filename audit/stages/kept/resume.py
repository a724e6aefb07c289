"""Resume a run directory: restore its settings with changes, and check which stages are done."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flashbulb.audit.run.directory import DETECTION, RunDirectory, RunDirectoryError
from flashbulb.audit.settings import AuditSettings, Settings, SettingsError
from flashbulb.audit.stages.kept.identity import detection_identity
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.reports.tables.files import DETECTION_TABLES, RunIncompleteError, sha256_of
from flashbulb.reports.tables.run_record import COMPLETE, DETECTED, RECORDED

logger = logging.getLogger(__name__)


def restore_settings(
    run: RunDirectory, changes: Mapping[str, Any], earlier: Sequence[type[Settings]] = ()
) -> AuditSettings:
    """Read the settings from run.json and apply `changes`; `out` becomes the path of the directory.

    Args:
        earlier: settings of stages that have run and do not run again.

    Raises:
        RunDirectoryError: run.json holds no settings, or invalid ones.
        SettingsError: `changes` would change results of an earlier stage.
        ValidationError: a value in `changes` is invalid.
    """
    saved = run.record.get("settings")
    if not isinstance(saved, Mapping):
        raise RunDirectoryError(f"{run.path} holds no settings; finish it with the command that began it")
    values = {name: value for name, value in saved.items() if name not in AuditSettings.never_restored()}
    try:
        settings = AuditSettings.model_validate({**values, "out": run.path})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RunDirectoryError(f"{run.path} holds invalid settings: {where}: {first['msg']}") from error
    if not changes:
        return settings
    changed = AuditSettings.model_validate({**settings.model_dump(), **changes})
    for stage in earlier:
        old, new = settings.identity(stage), changed.identity(stage)
        if name := next((name for name in old if old[name] != new[name]), None):
            raise SettingsError(
                f"an earlier stage of {run.path} ran with {name} {old[name]!r}, not {new[name]!r}; leave it as it is, "
                "or run that stage again"
            )
    return changed


def find_recorded(
    out: Path, identity: Mapping[str, Any], settings: AuditSettings, *, force: bool
) -> RunDirectory | None:
    """Return the directory if this recording is complete there, with undamaged shards; with `force` never.

    Raises:
        RunDirectoryError, DirectoryHeldError: as `RunDirectory.examine`.
    """
    status = RunDirectory.examine(out, identity, force=force)
    if force or status not in (RECORDED, DETECTED, COMPLETE):
        return None
    try:
        open_recorded(out, settings)
    except (RunDirectoryError, RunIncompleteError) as error:
        logger.warning("%s", error)
        return None
    logger.info("%s is already %s", out, status)
    with RunDirectory.reopen(out) as run:
        return run


def is_detected(run: RunDirectory, settings: AuditSettings) -> bool:
    """Return whether detection ran with these settings, and all its tables have the hashes that run.json records."""
    record, path = run.record, run.path
    if record.get("status") not in (DETECTED, COMPLETE) or record["settings"].get("strict") != settings.strict:
        return False
    if record["identity"].get(DETECTION) != detection_identity(settings):
        return False
    tables = record.get("tables")
    if not isinstance(tables, Mapping) or not tables.keys() >= set(DETECTION_TABLES):
        return False
    return all((path / name).is_file() and sha256_of(path / name) == digest for name, digest in tables.items())
