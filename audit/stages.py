"""Wire the audit: load, record, detect, sample, judge, write. The only file that knows all stages."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from audit.account import Inputs, Results, display_name
from audit.config import AuditSettings
from audit.denormals import flushed_denormals
from audit.detecting import Detected, RecordedSet, detect
from audit.detectors import PictureDetector
from audit.findings import severity
from audit.loading import ModelError, load_model
from audit.output import write_results
from audit.prompts import PromptFileError, PromptSet, read_prompts
from audit.recording import Recorded, Recorder, record_set
from audit.recovery_stage import recover_flagged
from audit.replay import Replay
from audit.rundir import RunDirectory, RunDirectoryError, fingerprint_of
from audit.saved_calibration import CALIBRATION_FILE, CalibrationError, save_calibration
from audit.screening import fit_screen, screen_prompts
from audit.session import (
    Session,
    calibration_identity_of,
    check_reference_size,
    check_store_size,
    check_strategies,
    check_tiers,
    check_training_images,
    chosen_detectors,
    identity_of,
    load_session,
)
from audit.shards import Shards
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


@dataclass(slots=True)
class _Stopwatch:
    """Seconds spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        spent = self.seconds.get(name, 0.0) + time.monotonic() - started
        self.seconds[name] = round(spent, 3)


def list_sites(model: str, allow_pickle: bool) -> tuple[Site, ...]:
    """Every site of a model that Engram can record."""
    loaded = load_model(model, device="cpu", dtype=torch.float32, allow_pickle=allow_pickle)
    return find_sites(loaded.pipe, SITE_KINDS)


def run_audit(settings: AuditSettings, *, force: bool, replayed: Replay[AuditSettings] | None = None) -> Verdict:
    """Run every stage that is not done yet, write the run directory, print the summary, and give the verdict.

    Raises:
        one of USAGE_ERRORS for a mistake in the inputs, of UNTRUSTED_ERRORS for a recording that cannot be trusted.
    """
    watch = _Stopwatch()
    candidates = read_prompts(settings.prompts, settings.text_column)
    reference = read_prompts(settings.reference, settings.reference_column) if settings.reference else None
    if settings.calibration is None:
        check_reference_size(reference or candidates)
    check_training_images(settings)
    check_tiers(settings)
    check_strategies(settings)
    detectors = chosen_detectors(settings.detectors, settings.sites)
    with watch.stage("load"):
        session = load_session(settings, candidates, reference, detectors)
    check_store_size(session.inputs)
    if replayed is not None:
        replayed.compare_inputs(identity_of(session.inputs))
    run = RunDirectory.open(settings.out, identity_of(session.inputs), force=force)
    loaded = session.inputs.loaded
    logger.info("%s (%s, %s on %s)", display_name(settings.model), loaded.fingerprint, loaded.dtype, loaded.device)
    logger.info("%d prompts, results in %s", len(candidates.prompts), run.path)
    with _status_of(run), flushed_denormals():
        return _run_stages(session, run, watch)


def run_calibration(settings: AuditSettings, *, force: bool) -> Path:
    """Record the prompts of `settings` as a reference for later audits; returns the folder they lie in."""
    prompts = read_prompts(settings.prompts, settings.text_column)
    check_reference_size(prompts)
    session = load_session(settings, prompts, None, chosen_detectors(settings.detectors, settings.sites))
    check_store_size(session.inputs)
    run = RunDirectory.open(settings.out, identity_of(session.inputs), force=force)
    (run.path / CALIBRATION_FILE).unlink(missing_ok=True)
    with _status_of(run), flushed_denormals():
        recorded = _record(session, session.recorder(), run, {"reference": prompts})["reference"]
    identity = calibration_identity_of(session.inputs)
    fingerprint = _set_fingerprint(run, "reference")
    save_calibration(run.path, identity, prompts, recorded, fingerprint)
    run.update(status="calibration", settings=settings.model_dump(mode="json"))
    logger.info("%d reference prompts in %s", len(prompts.prompts), run.path)
    return run.path


@contextmanager
def _status_of(run: RunDirectory) -> Iterator[None]:
    """Leave in run.json why a run ended before its time."""
    try:
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


def _run_stages(session: Session, run: RunDirectory, watch: _Stopwatch) -> Verdict:
    recorder = session.recorder()
    with watch.stage("record"):
        saved = session.inputs.saved
        recorded = _record(session, recorder, run, {"reference": None if saved else session.inputs.reference})
        if saved is not None:
            recorded["reference"] = saved
    if session.inputs.settings.tiers == "screened":
        with watch.stage("screen"):
            session = _screen(session, recorder, recorded["reference"])
    inputs = session.inputs
    with watch.stage("record"):
        recorded |= _record(session, recorder, run, {"candidates": inputs.candidates})
    with watch.stage("detect"):
        detected = _detect(session, recorded)
    shards = _shards(recorded["candidates"], inputs)
    with watch.stage("recover"):
        recovered = recover_flagged(session, run, detected, shards, _set_fingerprint(run, "recovery"))
    verdicts = {one.position: one.best.outcome for one in recovered}
    severities = tuple(
        severity(bool(flag), float(q), verdicts.get(position))
        for position, (flag, q) in enumerate(zip(detected.scored.flagged, detected.scored.q_value, strict=True))
    )
    pictured = [detector for detector in session.detectors if isinstance(detector, PictureDetector)]
    measuring = sum(detector.evaluations_per_picture for detector in pictured) * inputs.settings.n_samples
    spent = sum(r.n_evaluations for r in recorded.values()) + recorder.initial_evaluations
    results = Results(
        recorded,
        spent,
        detected,
        tuple(recovered),
        measuring * len(recovered),
        tuple(detector.name for detector in pictured),
        severities,
    )
    return write_results(inputs, results, shards, run, watch.seconds)


def _screen(session: Session, recorder: Recorder, reference: Recorded) -> Session:
    """Leave the calmest candidates out of everything that follows."""
    inputs, settings = session.inputs, session.inputs.settings
    screen = fit_screen(
        inputs.sites, _shards(reference, inputs), n_components=settings.n_components, share=settings.screened_share
    )
    prompts = inputs.candidates.prompts
    scores = screen_prompts(screen, recorder, prompts)
    threshold = min(screen.threshold, float(scores.max()))  # the loudest always goes on
    going_on = tuple(p for p, score in zip(prompts, scores, strict=True) if score >= threshold)
    left_out = tuple(p for p, score in zip(prompts, scores, strict=True) if score < threshold)
    logger.info("tier 0 leaves out %d of %d prompts", len(left_out), len(prompts))
    by_id = {prompt.prompt_id: float(score) for prompt, score in zip(prompts, scores, strict=True)}
    candidates = replace(inputs.candidates, prompts=going_on)
    return replace(session, inputs=replace(inputs, candidates=candidates, left_out=left_out, screen_scores=by_id))


def _set_fingerprint(run: RunDirectory, name: str) -> str:
    """What ties the shards of one recorded set to its run."""
    return fingerprint_of({**run.record["identity"], "set": name})


def _record(
    session: Session, recorder: Recorder, run: RunDirectory, sets: dict[str, PromptSet | None]
) -> dict[str, Recorded]:
    recorded = {}
    for name, prompts in sets.items():
        if prompts is not None:
            manifest = {"fingerprint": _set_fingerprint(run, name), **run.record["identity"]}
            folder = run.path / "activations" / name
            recorded[name] = record_set(recorder, prompts.prompts, folder, manifest, f"recording {name}")
    return recorded


def _shards(recorded: Recorded, inputs: Inputs) -> Shards:
    return Shards(recorded.folder, recorded.n_shards, inputs.settings.n_seeds)


def _detect(session: Session, recorded: dict[str, Recorded]) -> Detected:
    inputs, settings = session.inputs, session.inputs.settings
    sets = {
        name: RecordedSet([prompt.text for prompt in prompts.prompts], _shards(recorded[name], inputs))
        for name, prompts in (("candidates", inputs.candidates), ("reference", inputs.reference))
        if prompts is not None
    }
    return detect(
        inputs.sites,
        session.detectors,
        sets["candidates"],
        sets.get("reference"),
        n_components=settings.n_components,
        fpr=settings.fpr,
        max_style_shift=settings.max_style_shift,
        seed=settings.seed,
        all_texts=_all_texts(inputs),
    )


def _all_texts(inputs: Inputs) -> list[str]:
    """Every candidate's text in the order of the prompt file, those that tier 0 left out among them."""
    texts = {prompt.prompt_id: prompt.text for prompt in (*inputs.candidates.prompts, *inputs.left_out)}
    return [texts[prompt_id] for prompt_id in inputs.screen_scores or texts]
