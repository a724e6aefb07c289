"""Record reference prompts once, for later audits."""

from __future__ import annotations

import logging
from pathlib import Path

from flashbulb.audit.prompts.prompt_set import read_prompts
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.torch_state import torch_as_started
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.settings.checks import check_workers
from flashbulb.audit.stages.claim import former_results, status_on_failure
from flashbulb.audit.stages.kept.calibration import CALIBRATION_FILE, save_calibration
from flashbulb.audit.stages.kept.identity import (
    calibration_identity,
    recording_identity,
    set_identity,
)
from flashbulb.audit.stages.opening.detectors import select_detectors
from flashbulb.audit.stages.opening.examine import check_reference_size, check_store_size
from flashbulb.audit.stages.opening.session import (
    load_session,
    settle_batch_size,
)
from flashbulb.audit.stages.record import open_executor, record_prompt_set
from flashbulb.reports.tables.run_record import CALIBRATION

logger = logging.getLogger(__name__)


@torch_as_started()
def run_calibration(settings: AuditSettings, *, force: bool) -> Path:
    """Record the prompts of `settings` as the reference of later audits, and return the folder of this calibration.

    Raises:
        the errors of `run_audit`.
    """
    prompts = read_prompts(settings.prompts, settings.text_column)
    check_reference_size(prompts)
    check_workers(settings)
    detectors = select_detectors(settings.detectors, settings.sites)
    session = settle_batch_size(load_session(settings, prompts, None, detectors))
    inputs = session.inputs
    check_store_size(inputs)
    identity, former = {"calibration": recording_identity(inputs)}, former_results(CALIBRATION_FILE)
    with RunDirectory.open(settings.out, identity, force=force, former=former) as run:
        (run.path / CALIBRATION_FILE).unlink(missing_ok=True)
        with status_on_failure(run), open_executor(session) as executor:
            recorded = record_prompt_set(executor, run.path, inputs, "reference", prompts)
        depends_on = calibration_identity(inputs.model, inputs.settings)
        fingerprint = fingerprint_of(set_identity(inputs, "reference", prompts, inputs.model))
        save_calibration(run.path, depends_on, prompts, recorded, fingerprint)
        run.update(status=CALIBRATION, settings=inputs.settings.model_dump(mode="json"))
    logger.info("%d reference prompts in %s", len(prompts.prompts), run.path)
    return run.path
