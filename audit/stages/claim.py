"""Hold a run directory while stages write into it, and say in run.json how they ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from flashbulb.audit.additions.chosen import model_name
from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.execute.coordinator import WorkersLost
from flashbulb.audit.execute.ray_actors import RayError
from flashbulb.audit.localize.memories import MemoriesError
from flashbulb.audit.model.errors import ModelError, UntrustedModel
from flashbulb.audit.planted.manifest import PlantedModelError
from flashbulb.audit.prompts.formats.errors import PromptFileError
from flashbulb.audit.prompts.labels import LabelsError
from flashbulb.audit.run.directory import RunDirectory, RunDirectoryError
from flashbulb.audit.run.former import FormerResults
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.stages.kept.calibration import CalibrationError
from flashbulb.audit.stages.results.state import Inputs
from flashbulb.audit.statistics.bulk import BulkError
from flashbulb.audit.training_images.sources.members import TrainingImagesError
from flashbulb.hooks import (
    FingerprintMismatch,
    NewerSchema,
    NonFiniteActivation,
    SiteDidNotFire,
    UnknownArchitecture,
)
from flashbulb.reports.tables.files import (
    ANNEX_FILES,
    BASELINE_FILE,
    CANARIES_FILE,
    CANARIES_FOLDER,
    EVIDENCE_FILE,
    GUESSES_FILE,
    HISTOGRAM_FILE,
    IMAGES_DIRECTORY,
    PROPENSITY_FILE,
    REMOVAL_FILE,
    RUN_FILE,
    TABLE_FILES,
    VERDICT_FILES,
    RunFileError,
)

logger = logging.getLogger(__name__)

USAGE_ERRORS = (
    BulkError,
    CanaryError,
    LabelsError,
    MemoriesError,
    PlantedModelError,
    CalibrationError,
    ModelError,
    PromptFileError,
    RayError,
    RunDirectoryError,
    TrainingImagesError,
    UnknownArchitecture,
    FingerprintMismatch,
    NewerSchema,
    WorkersLost,
)
REFUSALS = (*USAGE_ERRORS, SettingsError, RunFileError)
UNTRUSTED_ERRORS = (SiteDidNotFire, NonFiniteActivation, UntrustedModel)


def former_results(*names: str, hold: Callable[[], bool] = lambda: True) -> FormerResults:
    """Return what a refused command leaves as it was: run.json, the verdict, the images, and these files.

    Args:
        hold: see `FormerResults`.
    """
    verdict = (*VERDICT_FILES, REMOVAL_FILE, *ANNEX_FILES)
    return FormerResults((RUN_FILE, *verdict, f"{IMAGES_DIRECTORY}/**/*", *names), REFUSALS, hold)


FORMER_AUDIT = former_results(
    *(*TABLE_FILES, PROPENSITY_FILE, CANARIES_FILE, GUESSES_FILE, f"{CANARIES_FOLDER}/{IMAGES_DIRECTORY}/**/*"),
    *(BASELINE_FILE, HISTOGRAM_FILE, EVIDENCE_FILE),
)
"""What the stages of an audit replace."""


@contextmanager
def claim(inputs: Inputs, identity: Mapping[str, Any], force: bool) -> Iterator[RunDirectory]:
    """Hold the run directory, write the settings into run.json, and if the stages fail, also the status.

    If they are refused, a finished audit is what it was.
    """
    opened = RunDirectory.open(inputs.settings.out, identity, force=force, former=FORMER_AUDIT)
    with opened as run, status_on_failure(run):
        model, n_prompts, name = inputs.model, len(inputs.candidates.prompts), model_name(inputs.settings)
        logger.info("%s (%s, %s on %s)", name, model.fingerprint, model.dtype, model.device)
        logger.info("%d prompts, results in %s", n_prompts, run.path)
        run.update(settings=inputs.settings.model_dump(mode="json"))
        yield run


@contextmanager
def status_on_failure(run: RunDirectory) -> Iterator[None]:
    """Let the stages compute; if they fail or are interrupted, write the status into run.json."""
    try:
        with computing():
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
