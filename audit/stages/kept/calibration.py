"""Save recorded reference prompts, and open them again for later audits.

Its JSON file is written last and marks a calibration as finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.shards import DAMAGE_ERRORS, describe_damage, find_damage, read_prompt_set, save_prompts
from flashbulb.audit.run.directory import flatten_json
from flashbulb.hooks.files import sealed, unsealed
from flashbulb.reports.tables.differences import first_difference
from flashbulb.reports.tables.files import SCHEMA_VERSION, write_text

CALIBRATION_FILE = "calibration.json"


class CalibrationError(ValueError):
    """A saved calibration cannot be used; the message gives the reason and what to do."""


@dataclass(frozen=True, slots=True)
class SavedCalibration:
    """Recorded reference prompts; using them again costs no UE."""

    prompts: PromptSet
    recorded: Recorded


def save_calibration(
    folder: Path, identity: Mapping[str, Any], prompts: PromptSet, recorded: Recorded, fingerprint: str
) -> None:
    """Write prompts.parquet and calibration.json beside the recorded shards.

    Args:
        identity: settings and model of the recording, which `open_calibration` compares.
        fingerprint: of the shards.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "identity": dict(identity),
        "prompts": save_prompts(folder, prompts),
        "fingerprint": fingerprint,
        "shards": recorded.folder.relative_to(folder).as_posix(),
        "n_shards": recorded.n_shards,
        "n_truncated": recorded.n_truncated,
    }
    write_text(folder / CALIBRATION_FILE, sealed(content))


def open_calibration(folder: Path, identity: Mapping[str, Any]) -> SavedCalibration:
    """Read the calibration in `folder` and check every shard; it must have been recorded with `identity`.

    Raises:
        CalibrationError: it is missing, damaged, of another version, or was recorded with another identity.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        raise CalibrationError(f"{folder} holds no finished calibration; make one with flashbulb calibrate")
    try:
        content = unsealed(path)
        _refuse_other_version(path, int(content["schema_version"]))
        saved_identity, prompts = dict(content["identity"]), read_prompt_set(folder, content["prompts"])
        recorded = Recorded(folder / content["shards"], int(content["n_shards"]), int(content["n_truncated"]), 0)
        damage = find_damage(recorded, str(content["fingerprint"]), len(prompts.prompts))
    except CalibrationError:
        raise
    except DAMAGE_ERRORS as error:
        raise CalibrationError(f"{describe_damage(error, path)}; calibrate again") from error
    _refuse_other_identity(folder, saved_identity, identity)
    if damage is not None:
        raise CalibrationError(f"{path} is damaged ({damage}); calibrate again")
    return SavedCalibration(prompts, recorded)


def _refuse_other_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise CalibrationError(f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; upgrade flashbulb")
    if version < SCHEMA_VERSION:
        raise CalibrationError(
            f"{path} was written by an older release (schema version {version}, this one reads {SCHEMA_VERSION}); "
            "calibrate again"
        )


def _refuse_other_identity(folder: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    difference = first_difference(flatten_json(saved), flatten_json(wanted))
    if difference is not None:
        raise CalibrationError(
            f"{folder} was calibrated with {difference.key} {difference.old!r}, this audit has {difference.new!r}"
            f"{difference.others}; calibrate again, or run the audit with the same settings"
        )
