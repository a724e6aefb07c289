"""Save finished recordings and open them again: the one of a run, and calibrations that later audits use.

A recording is reopened without the model and the prompt files. Its JSON file is written last and marks it as finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.shards import find_damage, read_prompt_set, save_prompts
from flashbulb.audit.run.directory import RunDirectoryError, fingerprint_of, flatten_json
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.identity import calibration_identity, recording_identity, set_identity
from flashbulb.audit.stages.state import AuditedModel, Inputs, RecordedRun
from flashbulb.hooks import Site
from flashbulb.reports.gate.policy import read_policy
from flashbulb.reports.gate.waivers import read_waivers
from flashbulb.reports.tables.differences import first_difference
from flashbulb.reports.tables.files import SCHEMA_VERSION, atomic_write, write_json

ACTIVATIONS = "activations"
RECORDING_FILE, SCREEN_FILE, LEFT_OUT = "recording.json", "screen.parquet", "left_out"
CALIBRATION_FILE = "calibration.json"

_COUNTS = ("n_shards", "n_truncated", "n_evaluations")
"""Fields of `Recorded` that recording.json holds for each set."""


class CalibrationError(ValueError):
    """A saved calibration cannot be used; the message gives the reason and what to do."""


@dataclass(frozen=True, slots=True)
class SavedCalibration:
    """Recorded reference prompts; using them again costs no UE."""

    prompts: PromptSet
    recorded: Recorded


def save_recorded(run: Path, recorded: RecordedRun) -> None:
    """Write the prompts of each set beside its shards, the tier-0 scores, and recording.json."""
    folder, inputs = run / ACTIVATIONS, recorded.inputs
    sets = {}
    for name, prompts in inputs.sets_to_record.items():
        sets[name] = {
            "fingerprint": fingerprint_of(set_identity(inputs, name, prompts)),
            "prompts": save_prompts(folder / name, prompts),
            **{count: getattr(recorded.sets[name], count) for count in _COUNTS},
        }
    if inputs.screen_scores:
        (folder / LEFT_OUT).mkdir(exist_ok=True)
        save_prompts(folder / LEFT_OUT, replace(inputs.candidates, prompts=inputs.left_out))
        with atomic_write(folder / SCREEN_FILE) as part:
            pd.DataFrame(inputs.screen_scores.items(), columns=["prompt_id", "screen"]).to_parquet(part, index=False)
    content = {
        "identity": recording_identity(inputs),
        "model": asdict(inputs.model),
        "sites": [asdict(site) for site in inputs.sites],
        "sets": sets,
        "is_screened": bool(inputs.screen_scores),
        "evaluations": recorded.evaluations,
        "timings": dict(recorded.timings),
    }
    write_json(folder / RECORDING_FILE, content)


def open_recorded(run: Path, settings: AuditSettings) -> RecordedRun:
    """Read what `save_recorded` wrote, check every shard, and continue with `settings`.

    Raises:
        RunDirectoryError: the recording is unfinished or damaged, or its calibration, policy or waivers cannot be used.
    """
    path = run / ACTIVATIONS / RECORDING_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recorded = _read_recorded(run / ACTIVATIONS, content, settings)
        fingerprints = {name: str(entry["fingerprint"]) for name, entry in content["sets"].items()}
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{run} is not recorded yet; finish it with the command that began it") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{path} is damaged ({error}); record into another directory") from error
    for name, prompts in recorded.inputs.sets_to_record.items():
        damage = find_damage(recorded.sets[name], fingerprints[name], len(prompts.prompts))
        if damage is not None:
            raise RunDirectoryError(f"{run / ACTIVATIONS / name} is damaged ({damage}); run `flashbulb record` again")
    return recorded


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
    write_json(folder / CALIBRATION_FILE, content)


def open_calibration(folder: Path, identity: Mapping[str, Any]) -> SavedCalibration:
    """Read the calibration in `folder` and check every shard; it must have been recorded with `identity`.

    Raises:
        CalibrationError: it is missing, damaged, of another version, or was recorded with another identity.
    """
    path = folder / CALIBRATION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, saved_identity = int(content["schema_version"]), dict(content["identity"])
        prompts = read_prompt_set(folder, content["prompts"])
        recorded = Recorded(folder / content["shards"], int(content["n_shards"]), int(content["n_truncated"]), 0)
    except FileNotFoundError as error:
        raise CalibrationError(f"{folder} holds no finished calibration; make one with flashbulb calibrate") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CalibrationError(f"{path} is damaged ({error}); calibrate again") from error
    _refuse_other_version(path, version)
    _refuse_other_identity(folder, saved_identity, identity)
    damage = find_damage(recorded, str(content["fingerprint"]), len(prompts.prompts))
    if damage is not None:
        raise CalibrationError(f"{path} is damaged ({damage}); calibrate again")
    return SavedCalibration(prompts, recorded)


def _read_recorded(folder: Path, content: Mapping[str, Any], settings: AuditSettings) -> RecordedRun:
    prompts = {name: read_prompt_set(folder / name, entry["prompts"]) for name, entry in content["sets"].items()}
    sets = {
        name: Recorded(folder / name, *(int(entry[count]) for count in _COUNTS))
        for name, entry in content["sets"].items()
    }
    model, reference, saved = AuditedModel(**content["model"]), prompts.get("reference"), None
    if settings.calibration is not None:
        calibration = open_calibration(settings.calibration, calibration_identity(model, settings))
        reference, saved = calibration.prompts, calibration.recorded
        sets["reference"] = saved
    sites = tuple(Site(**site) for site in content["sites"])
    policy, waivers = read_policy(settings.policy), read_waivers(settings.waivers)
    inputs = Inputs(settings, model, sites, prompts["candidates"], reference, saved, policy, waivers)
    if content["is_screened"]:
        screen = pd.read_parquet(folder / SCREEN_FILE)
        left_out = read_prompt_set(folder / LEFT_OUT, content["sets"]["candidates"]["prompts"])
        scores = dict(zip(screen["prompt_id"].tolist(), screen["screen"].tolist(), strict=True))
        inputs = replace(inputs, left_out=left_out.prompts, screen_scores=scores)
    return RecordedRun(inputs, sets, int(content["evaluations"]), dict(content["timings"]))


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
