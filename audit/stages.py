"""Wire the audit: record, detect, recover, alone or one after the other. The only file that knows all stages.

Every stage goes on from what the one before left in the run directory, so that it can be run again alone.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from audit.account import display_name, recorded_entries
from audit.checks import check_reference_size, check_settings, check_store_size, check_strategies, check_training_images
from audit.config import AuditSettings
from audit.denormals import flushed_denormals
from audit.detection_stage import detect_spikes
from audit.identity import (
    calibration_identity,
    detection_identity,
    identity_of,
    recording_identity,
    recovery_identity,
    set_identity,
)
from audit.loading import ModelError, load_model
from audit.prompts import PromptFileError, read_prompts
from audit.recorded_run import open_recorded
from audit.recording_stage import record_named, record_prompts
from audit.recovery_stage import recover_pictures
from audit.replay import Replay
from audit.resuming import is_detected, is_recorded, settings_of
from audit.rundir import DETECTION, RECORDING, RECOVERY, RunDirectory, RunDirectoryError, fingerprint_of
from audit.saved_calibration import CALIBRATION_FILE, CalibrationError, save_calibration
from audit.session import Session, chosen_detectors, load_session, reload_session
from audit.stopwatch import Stopwatch
from audit.training_images import TrainingImagesError
from hooks import (
    SITE_KINDS,
    FingerprintMismatch,
    NewerSchema,
    NonFiniteActivation,
    Site,
    SiteDidNotFire,
    UnknownArchitecture,
    find_sites,
)
from reports.decide import Verdict
from reports.files import IMAGES_DIRECTORY, RECOVERY_DIRECTORY

logger = logging.getLogger(__name__)

USAGE_ERRORS = (
    CalibrationError,
    ModelError,
    PromptFileError,
    RunDirectoryError,
    TrainingImagesError,
    UnknownArchitecture,
    FingerprintMismatch,
    NewerSchema,
)
UNTRUSTED_ERRORS = (SiteDidNotFire, NonFiniteActivation)


def list_sites(model: str, allow_pickle: bool) -> tuple[Site, ...]:
    """Every site of a model that Engram can record."""
    loaded = load_model(model, device="cpu", dtype=torch.float32, allow_pickle=allow_pickle)
    return find_sites(loaded.pipe, SITE_KINDS)


def open_session(settings: AuditSettings, replayed: Replay[AuditSettings] | None = None) -> Session:
    """Read the inputs, refuse what an audit cannot work with, and load the model.

    Args:
        replayed: the finished audit that the settings were taken from; its prompt files have to be the same.

    Raises:
        one of USAGE_ERRORS, or a SettingsError.
    """
    candidates = read_prompts(settings.prompts, settings.text_column)
    reference = read_prompts(settings.reference, settings.reference_column) if settings.reference else None
    check_settings(settings, candidates, reference)
    session = load_session(settings, candidates, reference, chosen_detectors(settings.detectors, settings.sites))
    check_store_size(session.inputs)
    if replayed is not None:
        replayed.compare_inputs(recording_identity(session.inputs))
    return session


def run_audit(settings: AuditSettings, *, force: bool, replayed: Replay[AuditSettings] | None = None) -> Verdict:
    """Run every stage, write the run directory, print the summary, and give the verdict; what is done is kept.

    Raises:
        one of USAGE_ERRORS for a mistake in the inputs, of UNTRUSTED_ERRORS for a recording that cannot be trusted.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        session = open_session(settings, replayed)
    run = _claim(session, identity_of(session.inputs), force)
    with _status_of(run):
        recorded = record_prompts(session, run, watch)
        found = detect_spikes(recorded, run, watch)
        return recover_pictures(session, recorded, found, run, watch)


def run_record(settings: AuditSettings, *, force: bool, replayed: Replay[AuditSettings] | None = None) -> RunDirectory:
    """Record and stop; a directory that holds later stages of the same recording is left as it is.

    Raises:
        as `run_audit`.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        session = open_session(settings, replayed)
    identity = {RECORDING: recording_identity(session.inputs)}
    status = RunDirectory.examine(settings.out, identity, force=force)
    if not force and is_recorded(settings.out, status, settings):
        logger.info("%s is %s already", settings.out, status)
        return RunDirectory.existing(settings.out)
    run = _claim(session, identity, force)
    with _status_of(run):
        record_prompts(session, run, watch)
    return run


def run_detect(directory: Path, changes: Mapping[str, Any]) -> RunDirectory:
    """Score and flag what is recorded in `directory`, with `changes` of its settings.

    Raises:
        RunDirectoryError: nothing is recorded there, or it is damaged; nothing has been changed.
    """
    run = RunDirectory.existing(directory)
    settings = settings_of(run, changes)
    recorded = open_recorded(directory, settings)
    if is_detected(run, settings):
        logger.info("%s is %s already", directory, run.record["status"])
        return run
    held = {RECORDING: run.record["identity"][RECORDING]}
    with _status_of(run):
        run.begin({**held, DETECTION: detection_identity(settings)}, **recorded_entries(recorded))
        detect_spikes(recorded, run, Stopwatch())
    return run


def run_recover(directory: Path, changes: Mapping[str, Any]) -> Verdict:
    """Take what is flagged in `directory` up the ladder, with `changes` of its settings, and finish the audit.

    Raises:
        RunDirectoryError: nothing is detected there; SettingsError: the model is another one now; or as `run_audit`.
    """
    run, watch = RunDirectory.existing(directory), Stopwatch()
    settings = settings_of(run, changes)
    check_training_images(settings)
    check_strategies(settings)
    recorded = open_recorded(directory, settings)
    if DETECTION not in run.record["identity"]:
        raise RunDirectoryError(f"{directory} is recorded and not detected; go on with `engram detect {directory}`")
    with watch.stage("load"):
        session = reload_session(recorded.inputs)
    held = {stage: run.record["identity"][stage] for stage in (RECORDING, DETECTION)}
    with _status_of(run):
        run.begin({**held, RECOVERY: recovery_identity(settings)}, **recorded_entries(recorded))
        if not settings.images:
            for name in (IMAGES_DIRECTORY, RECOVERY_DIRECTORY):
                shutil.rmtree(directory / name, ignore_errors=True)
        found = detect_spikes(recorded, run, watch)
        return recover_pictures(session, recorded, found, run, watch)


def run_calibration(settings: AuditSettings, *, force: bool) -> Path:
    """Record the prompts of `settings` as a reference for later audits; returns the folder they lie in."""
    prompts = read_prompts(settings.prompts, settings.text_column)
    check_reference_size(prompts)
    session = load_session(settings, prompts, None, chosen_detectors(settings.detectors, settings.sites))
    inputs = session.inputs
    check_store_size(inputs)
    run = RunDirectory.open(settings.out, {"calibration": recording_identity(inputs)}, force=force)
    (run.path / CALIBRATION_FILE).unlink(missing_ok=True)
    with _status_of(run):
        recorded = record_named(session.recorder(), run, inputs, "reference", prompts)
    identity = calibration_identity(inputs.model, settings)
    fingerprint = fingerprint_of(set_identity(inputs, "reference", prompts))
    save_calibration(run.path, identity, prompts, recorded, fingerprint)
    run.update(status="calibration", settings=settings.model_dump(mode="json"))
    logger.info("%d reference prompts in %s", len(prompts.prompts), run.path)
    return run.path


def _claim(session: Session, identity: Mapping[str, Any], force: bool) -> RunDirectory:
    inputs = session.inputs
    run = RunDirectory.open(inputs.settings.out, identity, force=force)
    model, n_prompts = inputs.model, len(inputs.candidates.prompts)
    logger.info("%s (%s, %s on %s)", display_name(inputs.settings.model), model.fingerprint, model.dtype, model.device)
    logger.info("%d prompts, results in %s", n_prompts, run.path)
    run.update(settings=inputs.settings.model_dump(mode="json"))
    return run


@contextmanager
def _status_of(run: RunDirectory) -> Iterator[None]:
    """Compute without denormals, and leave in run.json why a run ended before its time."""
    try:
        with flushed_denormals():
            yield
    except KeyboardInterrupt:
        run.update(status="interrupted")
        raise
    except UNTRUSTED_ERRORS as error:
        run.update(status="untrusted", problems=[str(error)])
        raise
    except Exception:
        run.update(status="failed")
        raise
