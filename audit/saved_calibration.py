"""Keep a recorded reference, so that many audits of one model can be calibrated on it without recording it again.

A calibration belongs to a model, dtype, settings and site set: recorded with others, its neurons mean something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.prompts import PromptSet
from audit.recorded_sets import damage_of, read_prompt_set, save_prompts
from audit.recording import Recorded
from audit.rundir import stated_leaves
from reports.differences import first_difference
from reports.files import SCHEMA_VERSION, write_json

CALIBRATION_FILE = "calibration.json"


class CalibrationError(ValueError):
    """A saved calibration cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SavedCalibration:
    """Reference prompts and where their recording lies; using it costs no UE."""

    prompts: PromptSet
    recorded: Recorded


def save_calibration(
    folder: Path, identity: Mapping[str, Any], prompts: PromptSet, recorded: Recorded, fingerprint: str
) -> None:
    """Write prompts.parquet and, as the mark that all is there, calibration.json beside the recorded shards."""
    prompts_of_set = save_prompts(folder, prompts)
    content = {
        "schema_version": SCHEMA_VERSION,
        "identity": dict(identity),
        "prompts": prompts_of_set,
        "fingerprint": fingerprint,
        "shards": recorded.folder.relative_to(folder).as_posix(),
        "n_shards": recorded.n_shards,
        "n_truncated": recorded.n_truncated,
    }
    write_json(folder / CALIBRATION_FILE, content)


def open_calibration(folder: Path, identity: Mapping[str, Any]) -> SavedCalibration:
    """The calibration in `folder`, if it was recorded in the way that `identity` says.

    Raises:
        CalibrationError: there is none, it is damaged or newer, or was recorded otherwise; names both values.
    """
    path = folder / CALIBRATION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, held = int(content["schema_version"]), dict(content["identity"])
        prompts = read_prompt_set(folder, content["prompts"])
        recorded = Recorded(folder / content["shards"], int(content["n_shards"]), int(content["n_truncated"]), 0)
    except FileNotFoundError as error:
        raise CalibrationError(f"{folder} holds no finished calibration; make one with engram calibrate") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CalibrationError(f"{path} is damaged ({error}); calibrate again") from error
    if version > SCHEMA_VERSION:
        raise CalibrationError(f"{path} has schema version {version}, newer than {SCHEMA_VERSION}; upgrade engram")
    _refuse_other(folder, held, identity)
    damage = damage_of(recorded, str(content["fingerprint"]), len(prompts.prompts))
    if damage is not None:
        raise CalibrationError(f"{path} is damaged ({damage}); calibrate again")
    return SavedCalibration(prompts, recorded)


def _refuse_other(folder: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    found = first_difference(stated_leaves(held), stated_leaves(wanted))
    if found is not None:
        raise CalibrationError(
            f"{folder} was calibrated with {found.key} {found.was!r}, this audit has {found.now!r}{found.others}; "
            "calibrate again, or give the audit the same settings"
        )
