"""Run the first stage, recording: the reference prompts, then the candidates that pass tier 0; also on a base."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded, Recorder, record_set
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.stages.base import same_text_side
from flashbulb.audit.stages.kept.adopted import adopt_base_shards
from flashbulb.audit.stages.kept.identity import set_identity
from flashbulb.audit.stages.kept.recorded import ACTIVATIONS, save_recorded, set_folder
from flashbulb.audit.stages.results.account import recorded_entries
from flashbulb.audit.stages.results.state import Inputs, RecordedRun
from flashbulb.audit.stages.session import Session
from flashbulb.audit.statistics.screening import (
    Screened,
    TextSpikes,
    fit_screen,
    read_spikes,
    screen_added,
    screen_prompts,
)

logger = logging.getLogger(__name__)


def record_prompts(session: Session, run: RunDirectory, watch: Stopwatch) -> RecordedRun:
    """Record both sets on the audited model; finished shards of the same fingerprint are kept."""
    inputs, sets = session.inputs, dict[str, Recorded]()
    with watch.stage("record"):
        recorder = session.recorder()
        if inputs.saved is not None:
            sets["reference"] = inputs.saved
        elif inputs.reference is not None:
            sets["reference"] = record_prompt_set(recorder, run.path, inputs, "reference", inputs.reference)
    if inputs.settings.tiers == "screened":
        with watch.stage("screen"):
            inputs = _screened(inputs, recorder, sets["reference"], session.base_spikes)
    with watch.stage("record"):
        sets["candidates"] = record_prompt_set(recorder, run.path, inputs, "candidates", inputs.candidates)
        if inputs.canaries is not None:
            sets["canaries"] = record_prompt_set(recorder, run.path, inputs, "canaries", inputs.canaries)
    return RecordedRun(inputs, sets, {"record": _spent(sets, recorder)}, dict(watch.seconds))


def record_base(
    recorded: RecordedRun,
    base: AbstractContextManager[Session],
    run: RunDirectory,
    watch: Stopwatch,
    donors: Sequence[Path] = (),
) -> RecordedRun:
    """Record the same sets on the base model, which is opened for it.

    Args:
        donors: other runs, whose shards of the same base are taken over.
    """
    inputs = recorded.inputs
    adopt_base_shards(inputs, run.path, donors)
    with watch.stage("record_base"), base as session:
        recorder = session.recorder()
        sets = {
            name: record_prompt_set(recorder, run.path, inputs, name, prompts, is_base=True)
            for name, prompts in inputs.sets_to_record.items()
        }
    evaluations = {**recorded.evaluations, "record_base": _spent(sets, recorder)}
    return replace(recorded, evaluations=evaluations, timings=dict(watch.seconds), base_sets=sets)


def finish_recording(recorded: RecordedRun, run: RunDirectory) -> None:
    """Mark the recording as finished."""
    save_recorded(run.path, recorded)
    run.update(**recorded_entries(recorded))


def record_prompt_set(
    recorder: Recorder, run: Path, inputs: Inputs, name: str, prompts: PromptSet, *, is_base: bool = False
) -> Recorded:
    """Record one set of prompts into the folder `activations/<name>` of the run, or `activations/baseline/<name>`."""
    model = inputs.base if is_base and inputs.base is not None else inputs.model
    identity = set_identity(inputs, name, prompts, model)
    manifest = {"fingerprint": fingerprint_of(identity), **identity}
    stage = f"recording {name} on the base" if is_base else f"recording {name}"
    return record_set(recorder, prompts.prompts, set_folder(run / ACTIVATIONS, name, is_base=is_base), manifest, stage)


def _spent(sets: Mapping[str, Recorded], recorder: Recorder) -> int:
    return sum(recorded.n_evaluations for recorded in sets.values()) + recorder.initial_evaluations


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
    passing = tuple(p for p, score in zip(prompts, scores, strict=True) if score >= threshold)
    left_out = tuple(p for p, score in zip(prompts, scores, strict=True) if score < threshold)
    logger.info("tier 0 leaves out %d of %d prompts", len(left_out), len(prompts))
    by_id = {prompt.prompt_id: float(score) for prompt, score in zip(prompts, scores, strict=True)}
    return replace(
        inputs, candidates=replace(inputs.candidates, prompts=passing), left_out=left_out, screen_scores=by_id
    )


def _screen_added(inputs: Inputs, recorder: Recorder, base: TextSpikes) -> Screened:
    """Score candidates by what training added to the text side, which is read again in the batches of the base."""
    settings, reference = inputs.settings, inputs.reference
    assert reference is not None, "tier 0 with a base needs a reference"
    own = read_spikes(
        recorder.prompt_sites,
        reference.prompts,
        inputs.candidates.prompts,
        n_components=settings.n_components,
        batch_size=settings.batch_size,
    )
    screened = screen_added(own, base, settings.screened_share)
    if not (screened.scores.any() or screened.threshold):
        raise SettingsError(same_text_side(settings))
    return screened
