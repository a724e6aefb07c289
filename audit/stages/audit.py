"""Run an audit: its stages record, detect and recover, together or one at a time. The only file that knows them all.

Every stage starts from what the stage before wrote into the run directory, so each can be run again alone.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flashbulb.audit.additions.chosen import ComposedModel
from flashbulb.audit.model.loading.pipelines import refuse_unreachable_model
from flashbulb.audit.run.directory import (
    DETECTION,
    RECORDING,
    RECOVERY,
    RunDirectory,
    RunDirectoryError,
)
from flashbulb.audit.run.lock import check_free
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.run.torch_state import torch_as_started
from flashbulb.audit.settings import AuditSettings, DetectionSettings, RecordingSettings, refuse_missing_model
from flashbulb.audit.settings.checks import check_frame, check_strategies, check_training_images, check_workers
from flashbulb.audit.stages.claim import FORMER_AUDIT, claim, status_on_failure
from flashbulb.audit.stages.detect import detect_spikes
from flashbulb.audit.stages.kept.bulk import refuse_unkept, settle_layout
from flashbulb.audit.stages.kept.identity import (
    audit_identity,
    detection_identity,
    recording_identity,
    recovery_identity,
)
from flashbulb.audit.stages.kept.recorded import open_recorded
from flashbulb.audit.stages.kept.replay import Replay
from flashbulb.audit.stages.kept.resume import find_recorded, is_detected, restore_settings
from flashbulb.audit.stages.opening.detectors import select_detectors
from flashbulb.audit.stages.opening.examine import check_sampling, check_store_size
from flashbulb.audit.stages.opening.prompt_sets import read_sets
from flashbulb.audit.stages.opening.session import (
    Session,
    load_session,
    open_base,
    reload_session,
    settle_batch_size,
)
from flashbulb.audit.stages.record import finish_recording, record_base, record_prompts
from flashbulb.audit.stages.recover import recover_images
from flashbulb.audit.stages.results.account import recorded_entries
from flashbulb.audit.stages.results.propensity import check_pool
from flashbulb.audit.stores.fetching import fetch
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, MATCHES_DIRECTORY, RECOVERY_DIRECTORY
from flashbulb.reports.tables.verdict import Verdict

logger = logging.getLogger(__name__)

_READ_BY_RECOVERY = (
    *("model", "configs", "denoiser", "vae", "baseline_model", "train_images", "descriptor_weights"),
    *("canaries", "policy", "waivers"),
)


def open_session(
    settings: AuditSettings, replayed: Replay[AuditSettings] | None = None, loaded: ComposedModel | None = None
) -> Session:
    """Read the inputs, check them and the settings, and load the model.

    Args:
        loaded: the model, if it is already loaded.
        replayed: the finished audit that the settings come from; its prompt files must be unchanged.

    Raises:
        one of USAGE_ERRORS or SettingsError: a mistake in the inputs or settings.
    """
    if loaded is None:
        refuse_missing_model(settings.model)
        refuse_unreachable_model(settings.model)
    check_free(settings.out)  # before anything takes long
    candidates, reference, canaries = read_sets(settings)
    settings = settle_layout(settings, len(candidates.prompts))
    detectors = select_detectors(settings.detectors, settings.sites)
    session = load_session(settings, candidates, reference, detectors, loaded)
    session = settle_batch_size(replace(session, inputs=replace(session.inputs, canaries=canaries)))
    check_store_size(session.inputs)
    check_pool(session.inputs)
    if replayed is not None:
        replayed.compare_inputs(recording_identity(session.inputs))
    return session


@torch_as_started()
def run_audit(
    settings: AuditSettings,
    *,
    force: bool,
    replayed: Replay[AuditSettings] | None = None,
    donors: Sequence[str | os.PathLike[str]] = (),
    loaded: ComposedModel | None = None,
) -> Verdict:
    """Run every stage, write the run directory, print the summary, and return the verdict.

    An interrupted audit is resumed: finished shards and attempts are kept.

    Args:
        donors: other runs with the same base; what they recorded of it is not recorded again.
        loaded: the model, if it is already loaded; it stays in memory.

    Raises:
        one of USAGE_ERRORS or SettingsError: a mistake in the inputs or settings.
        one of UNTRUSTED_ERRORS: a recording that cannot be trusted.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        session = open_session(settings, replayed, loaded)
    check_sampling(session.inputs.settings, session.denoiser)
    with claim(session.inputs, audit_identity(session.inputs), force) as run:
        recorded = record_prompts(session, run, watch)
        if recorded.inputs.base is not None:
            base, kept = open_base(session), session if session.loras is not None or loaded is not None else None
            del session  # one model in memory at a time
            recorded = record_base(recorded, base, run, watch, [Path(donor) for donor in donors])
            with watch.stage("load"):
                session = kept or reload_session(recorded.inputs)
        finish_recording(recorded, run)
        detection = detect_spikes(recorded, run, watch, writes_scores=False)
        return recover_images(session, recorded, detection, run, watch)


@torch_as_started()
def run_record(settings: AuditSettings, *, force: bool, replayed: Replay[AuditSettings] | None = None) -> RunDirectory:
    """Run the first stage; a directory that already holds this recording is left as it is, with its later stages.

    Raises:
        the errors of `run_audit`.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        session = open_session(settings, replayed)
    identity = {RECORDING: recording_identity(session.inputs)}
    if (kept := find_recorded(settings.out, identity, settings, force=force)) is not None:
        return kept
    with claim(session.inputs, identity, force) as run:
        recorded = record_prompts(session, run, watch)
        base = None if recorded.inputs.base is None else open_base(session)
        del session  # one model in memory at a time
        finish_recording(recorded if base is None else record_base(recorded, base, run, watch), run)
        return run


def run_detect(directory: str | os.PathLike[str], changes: Mapping[str, Any]) -> RunDirectory:
    """Run the second stage on the recording in `directory`: score its prompts and flag those with spikes.

    Args:
        changes: settings that replace those of the directory.

    Raises:
        RunDirectoryError: nothing is recorded there, or the recording is damaged; the directory is unchanged.
        BulkError: `changes` ask for what a recording in the bulk layout does not hold; the directory is unchanged.
        SettingsError: `changes` ask for another recording; the directory is unchanged.
    """
    directory = Path(directory)
    with RunDirectory.reopen(directory) as run:
        settings = restore_settings(run, changes, earlier=[RecordingSettings])
        recorded = open_recorded(directory, settings)
        if is_detected(run, settings):
            logger.info("%s is already %s", directory, run.record["status"])
            return run
        refuse_unkept(recorded.inputs, recorded.sets["candidates"])
        earlier = {RECORDING: run.record["identity"][RECORDING]}
        with run.keeping(FORMER_AUDIT), status_on_failure(run):
            run.begin({**earlier, DETECTION: detection_identity(settings)}, **recorded_entries(recorded))
            detect_spikes(recorded, run, Stopwatch(), writes_scores=True)
        return run


@torch_as_started()
def run_recover(directory: str | os.PathLike[str], changes: Mapping[str, Any]) -> Verdict:
    """Run the last stage in `directory`: recover images of flagged prompts and controls, and finish the audit.

    Args:
        changes: settings that replace those of the directory.

    Raises:
        RunDirectoryError: detection has not run there.
        SettingsError: the model has changed since it was recorded, or `changes` do not fit together.
        the errors of `run_audit`.
    """
    directory = Path(directory)
    if changes.get("batch_size") == "auto":  # the recording settled it
        changes = {name: value for name, value in changes.items() if name != "batch_size"}
    with RunDirectory.reopen(directory) as run:
        watch, settings = Stopwatch(), restore_settings(run, changes, earlier=[RecordingSettings, DetectionSettings])
        fetch(*(getattr(settings, name) for name in _READ_BY_RECOVERY))
        check_training_images(settings)
        check_strategies(settings)
        check_workers(settings)
        recorded = open_recorded(directory, settings)
        candidates = recorded.inputs.candidates
        check_frame(settings, candidates.source, candidates.n_distinct)
        check_pool(recorded.inputs)
        refuse_unkept(recorded.inputs, recorded.sets["candidates"])
        if DETECTION not in run.record["identity"]:
            raise RunDirectoryError(
                f"{directory} is recorded, but detection has not run; continue with `flashbulb detect {directory}`"
            )
        with watch.stage("load"):
            session = reload_session(recorded.inputs)
        earlier = {stage: run.record["identity"][stage] for stage in (RECORDING, DETECTION)}
        with run.keeping(FORMER_AUDIT), status_on_failure(run):
            run.begin({**earlier, RECOVERY: recovery_identity(settings)}, **recorded_entries(recorded))
            if not settings.images:
                for name in (IMAGES_DIRECTORY, RECOVERY_DIRECTORY, MATCHES_DIRECTORY):
                    shutil.rmtree(directory / name, ignore_errors=True)
            detection = detect_spikes(recorded, run, watch, writes_scores=True)
            return recover_images(session, recorded, detection, run, watch)
