"""Run the first stage, recording: the reference prompts, then the candidates that pass tier 0; also on a base."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flashbulb.audit.additions.chosen import ChosenModel, base_model, chosen_model
from flashbulb.audit.detectors import NeuronDetector
from flashbulb.audit.execute.recording import RecorderSpec, RecordingWorkers
from flashbulb.audit.execute.unchanged_model import UnchangedModel
from flashbulb.audit.execute.workers import Workers, fitting_workers, open_workers
from flashbulb.audit.prompts.held import ScreenedCandidates
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded, Recorder
from flashbulb.audit.record.reduction import BULK
from flashbulb.audit.record.sets import WHOLE, Executor, Part, record_set
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.settings.recording import ActivationSettings
from flashbulb.audit.stages.kept.adopted import adopt_base_shards
from flashbulb.audit.stages.kept.bulk import bulk_reduction, candidates_fit, count_dense_shards
from flashbulb.audit.stages.kept.identity import set_identity
from flashbulb.audit.stages.kept.recorded import ACTIVATIONS, save_recorded, set_folder
from flashbulb.audit.stages.opening.base import same_text_side
from flashbulb.audit.stages.opening.detectors import select_detectors
from flashbulb.audit.stages.opening.session import Session, base_is_inside
from flashbulb.audit.stages.results.account import library_versions, recorded_entries
from flashbulb.audit.stages.results.state import AuditedModel, Inputs, RecordedRun
from flashbulb.audit.statistics.screening import (
    Screened,
    TextSpikes,
    fit_screen,
    read_spikes,
    screen_added,
    screen_prompts,
)

logger = logging.getLogger(__name__)


def record_prompts(session: Session, run: RunDirectory, watch: Stopwatch, part: Part = WHOLE) -> RecordedRun:
    """Record every set on the audited model; finished shards of the same fingerprint are kept."""
    inputs, sets = session.inputs, dict[str, Recorded]()
    with open_executor(session) as executor:
        with watch.stage("record"):
            if inputs.saved is not None:
                sets["reference"] = inputs.saved
            elif inputs.reference is not None:
                whole = WHOLE if inputs.settings.layout == BULK else part  # each part fits baselines on all of it
                sets["reference"] = record_prompt_set(executor, run.path, inputs, "reference", inputs.reference, whole)
        if inputs.settings.tiers == "screened":
            with watch.stage("screen"):
                recorder = executor if isinstance(executor, Recorder) else session.recorder()
                inputs = _screened(inputs, recorder, sets["reference"], session.base_spikes)
        with watch.stage("record"):
            for name, prompts in inputs.sets_to_record.items():
                if name == "candidates" and inputs.settings.layout == BULK:
                    sets[name] = _record_in_bulk(executor, run.path, inputs, sets.get("reference"), part)
                elif name != "reference":
                    sets[name] = record_prompt_set(executor, run.path, inputs, name, prompts, part)
    return RecordedRun(inputs, sets, {"record": _spent(sets, executor)}, dict(watch.seconds))


def record_base(
    recorded: RecordedRun,
    base: AbstractContextManager[Session],
    run: RunDirectory,
    watch: Stopwatch,
    donors: Sequence[Path] = (),
    part: Part = WHOLE,
) -> RecordedRun:
    """Record the same sets on the base model, which is opened for it.

    Args:
        donors: other runs, whose shards of the same base are taken over.
    """
    inputs = recorded.inputs
    adopt_base_shards(inputs, run.path, donors)
    with watch.stage("record_base"), base as session, open_executor(session, is_base=True) as executor:
        sets = {
            name: record_prompt_set(executor, run.path, inputs, name, prompts, part, is_base=True)
            for name, prompts in inputs.sets_to_record.items()
        }
    evaluations = {**recorded.evaluations, "record_base": _spent(sets, executor)}
    return replace(recorded, evaluations=evaluations, timings=dict(watch.seconds), base_sets=sets)


def finish_recording(recorded: RecordedRun, run: RunDirectory) -> None:
    """Mark the recording as finished."""
    save_recorded(run.path, recorded)
    run.update(**recorded_entries(recorded))


@contextmanager
def open_executor(session: Session, *, is_base: bool = False) -> Iterator[Executor]:
    """Yield what records: the session's own model, or workers that load it as well."""
    workers = workers_of(session.inputs.settings, session.inputs.model.device, session.denoiser.weight_bytes)
    if workers is None:
        yield session.recorder()
        return
    spec = _spec_of(session, is_base)
    with open_workers(spec, workers) as coordinator:
        yield RecordingWorkers(spec, coordinator)


def workers_of(settings: ActivationSettings, device: str, weight_bytes: int) -> Workers | None:
    """Return where and how many workers the settings ask for; None where this process does the work itself.

    Args:
        device: of the model.
        weight_bytes: of the model, of which every worker loads a copy.
    """
    n = settings.workers
    if n == "auto":
        n = fitting_workers(device, weight_bytes)
        logger.info("--workers auto: %d on this machine", n)
    if settings.executor == "local" and n == 1:
        return None
    return Workers(settings.executor, n, settings.worker_timeout, settings.ray_address, library_versions())


def _spec_of(session: Session, is_base: bool) -> RecorderSpec:
    inputs, settings = session.inputs, session.inputs.settings
    model, chosen = inputs.model, chosen_model(settings)
    without_loras = is_base and base_is_inside(settings)
    if is_base and inputs.base is not None and settings.baseline_model is not None:
        model, chosen = inputs.base, chosen if without_loras else base_model(settings, settings.baseline_model)
    return RecorderSpec(
        unchanged_model(model, chosen, settings.clip_skip),
        without_loras,
        site_kinds=tuple(settings.sites),
        detectors=tuple(detector.name for detector in session.step_detectors),
        plan=session.recorder_plan,
    )


def unchanged_model(model: AuditedModel, chosen: ChosenModel, clip_skip: int | None) -> UnchangedModel:
    """Return a model that was looked at, as plain values."""
    return UnchangedModel(chosen, model.fingerprint, model.dtype, model.device, clip_skip)


def record_prompt_set(
    executor: Executor,
    run: Path,
    inputs: Inputs,
    name: str,
    prompts: PromptSet,
    part: Part = WHOLE,
    *,
    is_base: bool = False,
) -> Recorded:
    """Record one set of prompts into the folder `activations/<name>` of the run, or `activations/baseline/<name>`."""
    folder, manifest, stage = _set_of(run, inputs, name, prompts, is_base=is_base)
    return record_set(executor, prompts.prompts, folder, manifest, stage, part)


def _set_of(
    run: Path, inputs: Inputs, name: str, prompts: PromptSet, *, is_base: bool
) -> tuple[Path, dict[str, Any], str]:
    """Return the folder of a set, the manifest of its shards, and what its progress line says."""
    model = inputs.base if is_base and inputs.base is not None else inputs.model
    identity = set_identity(inputs, name, prompts, model)
    stage = f"recording {name} on the base" if is_base else f"recording {name}"
    return (
        set_folder(run / ACTIVATIONS, name, is_base=is_base),
        {"fingerprint": fingerprint_of(identity), **identity},
        stage,
    )


def _record_in_bulk(executor: Executor, run: Path, inputs: Inputs, reference: Recorded | None, part: Part) -> Recorded:
    """Record the candidates reduced to what detection reads: by baselines that the reference and the first ones fit.

    Every part of a run records all of the candidates that help to fit them.
    """
    prompts = inputs.candidates.prompts
    folder, manifest, stage = _set_of(run, inputs, "candidates", inputs.candidates, is_base=False)
    n_dense = count_dense_shards(inputs, executor.plan, pooled=candidates_fit(inputs))
    if n_dense:
        first = prompts[: n_dense * executor.plan.shard_size]
        record_set(executor, first, folder, manifest, f"{stage} that fit baselines")
    folder.mkdir(parents=True, exist_ok=True)
    found = select_detectors(inputs.settings.detectors, inputs.settings.sites)
    detectors = [detector for detector in found if isinstance(detector, NeuronDetector)]
    reduction = bulk_reduction(inputs, detectors, folder, manifest["fingerprint"], reference, n_dense, part)
    return record_set(executor, prompts, folder, manifest, stage, part, reduction, n_dense)


def _spent(sets: Mapping[str, Recorded], executor: Executor) -> int:
    return sum(recorded.n_evaluations for recorded in sets.values()) + executor.initial_evaluations


def _screened(inputs: Inputs, recorder: Recorder, reference: Recorded, base: TextSpikes | None) -> Inputs:
    """Leave the candidate prompts with the lowest tier-0 scores out of all later stages."""
    settings, prompts = inputs.settings, inputs.candidates.prompts
    if base is not None:
        scores, threshold = _screen_added(inputs, recorder, base)
    else:
        shards = Shards(reference.folder, reference.n_shards, settings.n_seeds)
        screen = fit_screen(inputs.sites, shards, n_components=settings.n_components, share=settings.screened_share)
        scores, threshold = screen_prompts(screen, recorder, prompts), screen.threshold
    threshold = min(threshold, float(scores.max()))  # the highest score always passes
    passed = scores >= threshold
    left_out = prompts.where(~passed)
    cut = _readings_of_cut(recorder, left_out.texts)
    screened = ScreenedCandidates(left_out, passed, scores, cut)
    logger.info("tier 0 leaves out %d of %d prompts", len(screened.left_out), len(prompts))
    return replace(inputs, candidates=replace(inputs.candidates, prompts=prompts.where(passed)), screened=screened)


def _readings_of_cut(recorder: Recorder, texts: Sequence[str]) -> tuple[int, ...]:
    """Return what is read of each truncated prompt that tier 0 left out, and so is in no shard."""
    denoiser, size = recorder.denoiser, recorder.plan.batch_size
    cut = denoiser.find_truncated(texts)
    batches = (cut[first : first + size] for first in range(0, len(cut), size))
    return tuple(reading for some in batches for reading in denoiser.encode(some).readings_of_cut())


def _screen_added(inputs: Inputs, recorder: Recorder, base: TextSpikes) -> Screened:
    """Score candidates by what training added to the text side, which is read again in the batches of the base."""
    settings, reference = inputs.settings, inputs.reference
    assert reference is not None, "tier 0 with a base needs a reference"
    own = read_spikes(
        recorder.prompt_sites,
        reference.prompts,
        inputs.candidates.prompts,
        n_components=settings.n_components,
        batch_size=settings.latents_per_call,
    )
    screened = screen_added(own, base, settings.screened_share)
    if not (screened.scores.any() or screened.threshold):
        raise SettingsError(same_text_side(settings))
    return screened
