"""Keep what recording leaves, so that detection and recovery go on from it without the model or the prompt files.

`activations/recording.json` is the mark that everything is recorded; it is written last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from audit.config import AuditSettings
from audit.identity import calibration_identity, recording_identity, set_identity
from audit.prompts import PromptSet
from audit.recorded_sets import damage_of, read_prompt_set, save_prompts
from audit.recording import Recorded
from audit.results import AuditedModel, Inputs, RecordedRun
from audit.rundir import RunDirectoryError, fingerprint_of
from audit.saved_calibration import open_calibration
from hooks import Site
from reports.files import whole_file, write_json
from reports.policy import read_policy
from reports.waivers import read_waivers

ACTIVATIONS = "activations"
RECORDING_FILE, SCREEN_FILE, LEFT_OUT = "recording.json", "screen.parquet", "left_out"


def save_recorded(run: Path, recorded: RecordedRun) -> None:
    """Write the prompts of each set beside its shards, what tier 0 said, and recording.json as the mark."""
    folder, inputs = run / ACTIVATIONS, recorded.inputs
    sets = {}
    for name, prompts in _own_sets(inputs).items():
        fingerprint = fingerprint_of(set_identity(inputs, name, prompts))
        of_set = {key: getattr(recorded.sets[name], key) for key in ("n_shards", "n_truncated", "n_evaluations")}
        sets[name] = {"fingerprint": fingerprint, "prompts": save_prompts(folder / name, prompts), **of_set}
    if inputs.screen_scores:
        (folder / LEFT_OUT).mkdir(exist_ok=True)
        save_prompts(folder / LEFT_OUT, replace(inputs.candidates, prompts=inputs.left_out))
        with whole_file(folder / SCREEN_FILE) as part:
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
    """What `save_recorded` wrote, every shard checked, for an audit that goes on with `settings`.

    Raises:
        RunDirectoryError: the recording is not finished or damaged.
        CalibrationError: the calibration that it was made with is not there any more.
    """
    path = run / ACTIVATIONS / RECORDING_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recorded = _restored(run / ACTIVATIONS, content, settings)
        fingerprints = {name: str(of_set["fingerprint"]) for name, of_set in content["sets"].items()}
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{run} is not recorded yet; finish it with the command that began it") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{path} is damaged ({error}); record into another directory") from error
    for name, prompts in _own_sets(recorded.inputs).items():
        damage = damage_of(recorded.sets[name], fingerprints[name], len(prompts.prompts))
        if damage is not None:
            raise RunDirectoryError(f"{run / ACTIVATIONS / name} is damaged ({damage}); give `engram record` again")
    return recorded


def _own_sets(inputs: Inputs) -> dict[str, PromptSet]:
    """The sets that lie in the run itself; a saved calibration does not."""
    sets = {"reference": None if inputs.saved else inputs.reference, "candidates": inputs.candidates}
    return {name: prompts for name, prompts in sets.items() if prompts is not None}


def _restored(folder: Path, content: Mapping[str, Any], settings: AuditSettings) -> RecordedRun:
    prompts = {name: read_prompt_set(folder / name, of_set["prompts"]) for name, of_set in content["sets"].items()}
    counts = ("n_shards", "n_truncated", "n_evaluations")
    sets = {
        name: Recorded(folder / name, *(int(of_set[key]) for key in counts)) for name, of_set in content["sets"].items()
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
