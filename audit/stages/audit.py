"""Run an audit: its stages record, detect and recover, together or one at a time. The only file that knows them all.

Every stage starts from what the stage before wrote into the run directory, so each can be run again alone.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flashbulb.audit.additions.chosen import model_name
from flashbulb.audit.localize.memories import MemoriesError
from flashbulb.audit.model.errors import ModelError, UntrustedModel
from flashbulb.audit.model.loading import flushed_denormals
from flashbulb.audit.planted.manifest import PlantedModelError
from flashbulb.audit.prompts.labels import LabelsError
from flashbulb.audit.prompts.prompt_set import PromptFileError, read_prompts
from flashbulb.audit.run.directory import (
    DETECTION,
    RECORDING,
    RECOVERY,
    RunDirectory,
    RunDirectoryError,
    fingerprint_of,
)
from flashbulb.audit.run.lock import check_free
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.settings.checks import check_strategies, check_training_images
from flashbulb.audit.stages.account import recorded_entries
from flashbulb.audit.stages.detect import detect_spikes
from flashbulb.audit.stages.identity import (
    audit_identity,
    calibration_identity,
    detection_identity,
    recording_identity,
    recovery_identity,
    set_identity,
)
from flashbulb.audit.stages.record import finish_recording, record_base, record_prompt_set, record_prompts
from flashbulb.audit.stages.recorded import CALIBRATION_FILE, CalibrationError, open_recorded, save_calibration
from flashbulb.audit.stages.recover import recover_images
from flashbulb.audit.stages.replay import Replay
from flashbulb.audit.stages.resume import is_detected, is_recorded, restore_settings
from flashbulb.audit.stages.session import (
    Session,
    check_reference_size,
    check_settings,
    check_store_size,
    load_session,
    reload_session,
    select_detectors,
)
from flashbulb.audit.stages.state import Inputs
from flashbulb.audit.training_images.members import TrainingImagesError
from flashbulb.hooks import (
    FingerprintMismatch,
    NewerSchema,
    NonFiniteActivation,
    SiteDidNotFire,
    UnknownArchitecture,
)
from flashbulb.reports.tables.files import IMAGES_DIRECTORY, RECOVERY_DIRECTORY
from flashbulb.reports.tables.verdict import Verdict

logger = logging.getLogger(__name__)

USAGE_ERRORS = (
    LabelsError,
    MemoriesError,
    PlantedModelError,
    CalibrationError,
    ModelError,
    PromptFileError,
    RunDirectoryError,
    TrainingImagesError,
    UnknownArchitecture,
    FingerprintMismatch,
    NewerSchema,
)
UNTRUSTED_ERRORS = (SiteDidNotFire, NonFiniteActivation, UntrustedModel)


def open_session(settings: AuditSettings, replayed: Replay[AuditSettings] | None = None) -> Session:
    """Read the inputs, check them and the settings, and load the model.

    Args:
        replayed: the finished audit that the settings come from; its prompt files must be unchanged.

    Raises:
        one of USAGE_ERRORS or SettingsError: a mistake in the inputs or settings.
    """
    check_free(settings.out)  # before anything takes long
    candidates = read_prompts(settings.prompts, settings.text_column)
    reference = read_prompts(settings.reference, settings.reference_column) if settings.reference else None
    check_settings(settings, candidates, reference)
    session = load_session(settings, candidates, reference, select_detectors(settings.detectors, settings.sites))
    check_store_size(session.inputs)
    if replayed is not None:
        replayed.compare_inputs(recording_identity(session.inputs))
    return session


def run_audit(settings: AuditSettings, *, force: bool, replayed: Replay[AuditSettings] | None = None) -> Verdict:
    """Run every stage, write the run directory, print the summary, and return the verdict.

    An interrupted audit is resumed: finished shards and attempts are kept.

    Raises:
        one of USAGE_ERRORS or SettingsError: a mistake in the inputs or settings.
        one of UNTRUSTED_ERRORS: a recording that cannot be trusted.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        session = open_session(settings, replayed)
    with _claim(session.inputs, audit_identity(session.inputs), force) as run:
        recorded = record_prompts(session, run, watch)
        if recorded.inputs.base is not None:
            del session  # one model in memory at a time
            recorded = record_base(recorded, run, watch)
            with watch.stage("load"):
                session = reload_session(recorded.inputs)
        finish_recording(recorded, run)
        detection = detect_spikes(recorded, run, watch, writes_scores=False)
        return recover_images(session, recorded, detection, run, watch)


def run_record(settings: AuditSettings, *, force: bool, replayed: Replay[AuditSettings] | None = None) -> RunDirectory:
    """Run the first stage; a directory that already holds this recording is left as it is, with its later stages.

    Raises:
        the errors of `run_audit`.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        session = open_session(settings, replayed)
    identity = {RECORDING: recording_identity(session.inputs)}
    status = RunDirectory.examine(settings.out, identity, force=force)
    if not force and is_recorded(settings.out, status, settings):
        logger.info("%s is already %s", settings.out, status)
        with RunDirectory.reopen(settings.out) as run:
            return run
    with _claim(session.inputs, identity, force) as run:
        recorded = record_prompts(session, run, watch)
        del session  # one model in memory at a time
        finish_recording(recorded if recorded.inputs.base is None else record_base(recorded, run, watch), run)
        return run


def run_detect(directory: Path, changes: Mapping[str, Any]) -> RunDirectory:
    """Run the second stage on the recording in `directory`: score its prompts and flag those with spikes.

    Args:
        changes: settings that replace those of the directory.

    Raises:
        RunDirectoryError: nothing is recorded there, or the recording is damaged; the directory is unchanged.
    """
    with RunDirectory.reopen(directory) as run:
        settings = restore_settings(run, changes)
        recorded = open_recorded(directory, settings)
        if is_detected(run, settings):
            logger.info("%s is already %s", directory, run.record["status"])
            return run
        earlier = {RECORDING: run.record["identity"][RECORDING]}
        with _status_on_failure(run):
            run.begin({**earlier, DETECTION: detection_identity(settings)}, **recorded_entries(recorded))
            detect_spikes(recorded, run, Stopwatch(), writes_scores=True)
        return run


def run_recover(directory: Path, changes: Mapping[str, Any]) -> Verdict:
    """Run the last stage in `directory`: recover images of flagged prompts and controls, and finish the audit.

    Args:
        changes: settings that replace those of the directory.

    Raises:
        RunDirectoryError: detection has not run there.
        SettingsError: the model has changed since it was recorded, or `changes` do not fit together.
        the errors of `run_audit`.
    """
    with RunDirectory.reopen(directory) as run:
        watch, settings = Stopwatch(), restore_settings(run, changes)
        check_training_images(settings)
        check_strategies(settings)
        recorded = open_recorded(directory, settings)
        if DETECTION not in run.record["identity"]:
            raise RunDirectoryError(
                f"{directory} is recorded, but detection has not run; continue with `flashbulb detect {directory}`"
            )
        with watch.stage("load"):
            session = reload_session(recorded.inputs)
        earlier = {stage: run.record["identity"][stage] for stage in (RECORDING, DETECTION)}
        with _status_on_failure(run):
            run.begin({**earlier, RECOVERY: recovery_identity(settings)}, **recorded_entries(recorded))
            if not settings.images:
                for name in (IMAGES_DIRECTORY, RECOVERY_DIRECTORY):
                    shutil.rmtree(directory / name, ignore_errors=True)
            detection = detect_spikes(recorded, run, watch, writes_scores=True)
            return recover_images(session, recorded, detection, run, watch)


def run_calibration(settings: AuditSettings, *, force: bool) -> Path:
    """Record the prompts of `settings` as the reference of later audits, and return the folder of this calibration.

    Raises:
        the errors of `run_audit`.
    """
    prompts = read_prompts(settings.prompts, settings.text_column)
    check_reference_size(prompts)
    session = load_session(settings, prompts, None, select_detectors(settings.detectors, settings.sites))
    inputs = session.inputs
    check_store_size(inputs)
    with RunDirectory.open(settings.out, {"calibration": recording_identity(inputs)}, force=force) as run:
        (run.path / CALIBRATION_FILE).unlink(missing_ok=True)
        with _status_on_failure(run):
            recorded = record_prompt_set(session.recorder(), run.path, inputs, "reference", prompts)
        identity = calibration_identity(inputs.model, inputs.settings)
        fingerprint = fingerprint_of(set_identity(inputs, "reference", prompts, inputs.model))
        save_calibration(run.path, identity, prompts, recorded, fingerprint)
        run.update(status="calibration", settings=inputs.settings.model_dump(mode="json"))
    logger.info("%d reference prompts in %s", len(prompts.prompts), run.path)
    return run.path


@contextmanager
def _claim(inputs: Inputs, identity: Mapping[str, Any], force: bool) -> Iterator[RunDirectory]:
    """Hold the run directory, write the settings into run.json, and if the stages fail, also the status."""
    with RunDirectory.open(inputs.settings.out, identity, force=force) as run, _status_on_failure(run):
        model, n_prompts, name = inputs.model, len(inputs.candidates.prompts), model_name(inputs.settings)
        logger.info("%s (%s, %s on %s)", name, model.fingerprint, model.dtype, model.device)
        logger.info("%d prompts, results in %s", n_prompts, run.path)
        run.update(settings=inputs.settings.model_dump(mode="json"))
        yield run


@contextmanager
def _status_on_failure(run: RunDirectory) -> Iterator[None]:
    """Flush denormals while the stages compute; if they fail or are interrupted, write the status into run.json."""
    try:
        with flushed_denormals():
            yield
    except KeyboardInterrupt:
        _state(run, status="interrupted")
        raise
    except UNTRUSTED_ERRORS as error:
        _state(run, status="untrusted", problems=[str(error)])
        raise
    except Exception:
        _state(run, status="failed")
        raise


def _state(run: RunDirectory, **entries: Any) -> None:
    """Write how a stage ended, if the disk takes it; otherwise run.json keeps the status of a running audit."""
    with suppress(OSError):
        run.update(**entries)
