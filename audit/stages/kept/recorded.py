"""Save the finished recording of a run and open it again.

A recording is reopened without the model and the prompt files. Its JSON file is written last and marks it as finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from flashbulb.audit.prompts.held import ScreenedCandidates
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded
from flashbulb.audit.record.rows import CUT
from flashbulb.audit.record.shards import (
    DAMAGE_ERRORS,
    check_intact,
    describe_damage,
    find_damage,
    read_held,
    read_prompt_set,
    save_held,
    save_prompts,
)
from flashbulb.audit.run.directory import RunDirectoryError, fingerprint_of
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.kept.calibration import CalibrationError, open_calibration
from flashbulb.audit.stages.kept.identity import REFERENCE_TEXTS, calibration_identity, recording_identity, set_identity
from flashbulb.audit.stages.results.state import AuditedModel, Inputs, RecordedRun
from flashbulb.hooks import Site
from flashbulb.hooks.files import DamagedFile, sealed, unsealed
from flashbulb.reports.gate.policy import Policy, read_policy
from flashbulb.reports.gate.waivers import read_waivers
from flashbulb.reports.tables.files import (
    RunIncompleteError,
    atomic_write,
    sha256_of,
    write_text,
)

ACTIVATIONS, BASELINE = "activations", "baseline"
RECORDING_FILE, SCREEN_FILE, LEFT_OUT = "recording.json", "screen.parquet", "left_out"

_COUNTS = ("n_shards", "n_truncated", "n_evaluations")
"""Fields of `Recorded` that recording.json holds for each set."""


def set_folder(folder: Path, name: str, *, is_base: bool) -> Path:
    """Return where the shards of the set `name` lie below the folder of activations."""
    return folder / BASELINE / name if is_base else folder / name


def save_recorded(run: Path, recorded: RecordedRun) -> None:
    """Write the prompts of each set beside its shards, the tier-0 scores, and recording.json."""
    folder, inputs = run / ACTIVATIONS, recorded.inputs
    sets = _set_entries(inputs, recorded.sets, inputs.model)
    for name, prompts in inputs.sets_to_record.items():
        (folder / name).mkdir(parents=True, exist_ok=True)  # a part may have no shard of it
        sets[name]["prompts"] = save_prompts(folder / name, prompts)
    base = None
    if inputs.base is not None:
        base = {"model": asdict(inputs.base), "sets": _set_entries(inputs, recorded.base_sets, inputs.base)}
    content = {
        "identity": recording_identity(inputs),
        "model": asdict(inputs.model),
        "sites": [asdict(site) for site in inputs.sites],
        "sets": sets,
        "base": base,
        "screened": None if inputs.screened is None else _save_screened(folder, inputs, inputs.screened),
        "evaluations": dict(recorded.evaluations),
        "timings": dict(recorded.timings),
    }
    write_text(folder / RECORDING_FILE, sealed(content))


def _set_entries(inputs: Inputs, sets: Mapping[str, Recorded], model: AuditedModel) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "fingerprint": fingerprint_of(set_identity(inputs, name, prompts, model)),
            **{count: getattr(sets[name], count) for count in _COUNTS},
        }
        for name, prompts in inputs.sets_to_record.items()
    }


def _save_screened(folder: Path, inputs: Inputs, screened: ScreenedCandidates) -> dict[str, Any]:
    """Write the prompts that tier 0 left out, and every tier-0 score; return what reading them needs."""
    (folder / LEFT_OUT).mkdir(exist_ok=True)
    left_out = save_held(folder / LEFT_OUT, screened.left_out, inputs.candidates)
    passing, others = iter(inputs.candidates.prompts.ids), iter(screened.left_out.ids)
    ids = [next(passing if passed else others) for passed in screened.passed]
    with atomic_write(folder / SCREEN_FILE) as part:
        pd.DataFrame({"prompt_id": ids, "screen": screened.scores}).to_parquet(part, index=False)
    return {"left_out": left_out, "scores_sha256": sha256_of(folder / SCREEN_FILE), CUT: list(screened.cut)}


def open_recorded(run: Path, settings: AuditSettings) -> RecordedRun:
    """Read what `save_recorded` wrote, check every shard, and continue with `settings`.

    Raises:
        RunDirectoryError: nothing is recorded yet.
        RunIncompleteError: the recording is damaged.
        CalibrationError, RunFileError: the calibration, policy or waivers of `settings` cannot be used.
    """
    folder = run / ACTIVATIONS
    if not (folder / RECORDING_FILE).exists():
        raise RunDirectoryError(f"{run} is not recorded yet; finish it with the command that began it")
    policy, waivers = read_policy(settings.policy), read_waivers(settings.waivers)
    try:
        content = unsealed(folder / RECORDING_FILE)
        inputs, base_sets = _read_inputs(folder, content, settings), dict[str, Recorded]()
        sets = _read_sets(folder, inputs, content["sets"], is_base=False)
        if inputs.base is not None:
            base_sets = _read_sets(folder, inputs, content["base"]["sets"], is_base=True)
        evaluations, timings = dict(content["evaluations"]), dict(content["timings"])
    except DAMAGE_ERRORS as error:
        way_out = "run `flashbulb record` again, which keeps what is intact"
        raise RunIncompleteError(f"{describe_damage(error, folder / RECORDING_FILE)}; {way_out}") from error
    inputs = replace(inputs, policy=policy, waivers=waivers)
    if settings.calibration is not None:
        saved = open_calibration(settings.calibration, calibration_identity(inputs.model, settings))
        _refuse_other_reference(run, settings.calibration, content["identity"].get(REFERENCE_TEXTS), saved.prompts)
        inputs, sets["reference"] = replace(inputs, reference=saved.prompts, saved=saved.recorded), saved.recorded
    return RecordedRun(inputs, sets, evaluations, timings, base_sets)


def _refuse_other_reference(run: Path, calibration: Path, recorded: str | None, reference: PromptSet) -> None:
    """Refuse a calibration that was made again of other prompts: flags would change, and run.json would not say so."""
    if reference.prompts.sha256 != recorded:
        raise CalibrationError(
            f"{calibration} now holds other reference prompts (SHA-256 of the texts {reference.prompts.sha256}) than "
            f"{run} was recorded with ({recorded}); calibrate with those again, or audit into another directory"
        )


def _read_sets(folder: Path, inputs: Inputs, entries: Mapping[str, Any], *, is_base: bool) -> dict[str, Recorded]:
    """Read what one model recorded; DamagedFile is raised where shards of it are damaged."""
    sets = {
        name: Recorded(set_folder(folder, name, is_base=is_base), *(int(entry[count]) for count in _COUNTS))
        for name, entry in entries.items()
    }
    for name, prompts in inputs.sets_to_record.items():
        damage = find_damage(sets[name], str(entries[name]["fingerprint"]), len(prompts.prompts))
        if damage is not None:
            raise DamagedFile(f"{sets[name].folder} is damaged: {damage}")
    return sets


def _read_inputs(folder: Path, content: Mapping[str, Any], settings: AuditSettings) -> Inputs:
    """Read what the recording itself holds, without policy, waivers and a saved calibration."""
    prompts = {name: read_prompt_set(folder / name, entry["prompts"]) for name, entry in content["sets"].items()}
    model, sites = AuditedModel(**content["model"]), tuple(Site(**site) for site in content["sites"])
    base = None if content["base"] is None else AuditedModel(**content["base"]["model"])
    inputs = Inputs(
        settings,
        model,
        sites,
        prompts["candidates"],
        prompts.get("reference"),
        None,
        Policy(),
        (),
        base=base,
        canaries=prompts.get("canaries"),
    )
    if (screened := content["screened"]) is None:
        return inputs
    check_intact(folder / SCREEN_FILE, screened["scores_sha256"])
    return replace(inputs, screened=_read_screened(folder, screened, inputs.candidates))


def _read_screened(folder: Path, saved: Mapping[str, Any], candidates: PromptSet) -> ScreenedCandidates:
    passing = {*candidates.prompts.ids}
    passed, scores = list[bool](), list[float]()
    with pq.ParquetFile(folder / SCREEN_FILE) as file:
        for batch in file.iter_batches(columns=["prompt_id", "screen"], use_threads=False):
            passed += [prompt_id in passing for prompt_id in batch["prompt_id"].to_pylist()]
            scores += batch["screen"].to_pylist()
    others = read_held(folder / LEFT_OUT, saved["left_out"])
    if len(passing) != sum(passed) or len(others) != len(passed) - sum(passed):
        raise ValueError(f"{SCREEN_FILE} scores other prompts")
    return ScreenedCandidates(others, np.array(passed), np.array(scores), tuple(saved[CUT]))
