"""Run the first stage, recording: the reference prompts, then the candidate prompts that pass tier 0."""

from __future__ import annotations

import logging
from dataclasses import replace

from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorded, Recorder, record_set
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.directory import RunDirectory, fingerprint_of
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.stages.account import recorded_entries
from flashbulb.audit.stages.identity import set_identity
from flashbulb.audit.stages.recorded import ACTIVATIONS, save_recorded
from flashbulb.audit.stages.session import Session
from flashbulb.audit.stages.state import Inputs, RecordedRun
from flashbulb.audit.statistics.screening import fit_screen, screen_prompts

logger = logging.getLogger(__name__)


def record_prompts(session: Session, run: RunDirectory, watch: Stopwatch) -> RecordedRun:
    """Record everything that later stages read; finished shards of the same fingerprint are kept."""
    inputs, sets = session.inputs, dict[str, Recorded]()
    with watch.stage("record"):
        recorder = session.recorder()
        if inputs.saved is not None:
            sets["reference"] = inputs.saved
        elif inputs.reference is not None:
            sets["reference"] = record_prompt_set(recorder, run, inputs, "reference", inputs.reference)
    if inputs.settings.tiers == "screened":
        with watch.stage("screen"):
            inputs = _screened(inputs, recorder, sets["reference"])
    with watch.stage("record"):
        sets["candidates"] = record_prompt_set(recorder, run, inputs, "candidates", inputs.candidates)
    spent = sum(recorded_set.n_evaluations for recorded_set in sets.values()) + recorder.initial_evaluations
    recorded = RecordedRun(inputs, sets, spent, dict(watch.seconds))
    save_recorded(run.path, recorded)
    run.update(**recorded_entries(recorded))
    return recorded


def record_prompt_set(recorder: Recorder, run: RunDirectory, inputs: Inputs, name: str, prompts: PromptSet) -> Recorded:
    """Record one set of prompts into the folder `activations/<name>` of the run."""
    identity = set_identity(inputs, name, prompts)
    manifest = {"fingerprint": fingerprint_of(identity), **identity}
    return record_set(recorder, prompts.prompts, run.path / ACTIVATIONS / name, manifest, f"recording {name}")


def _screened(inputs: Inputs, recorder: Recorder, reference: Recorded) -> Inputs:
    """Leave the candidate prompts with the lowest tier-0 scores out of all later stages."""
    settings, prompts = inputs.settings, inputs.candidates.prompts
    shards = Shards(reference.folder, reference.n_shards, settings.n_seeds)
    screen = fit_screen(inputs.sites, shards, n_components=settings.n_components, share=settings.screened_share)
    scores = screen_prompts(screen, recorder, prompts)
    threshold = min(screen.threshold, float(scores.max()))  # the highest score always passes
    passing = tuple(p for p, score in zip(prompts, scores, strict=True) if score >= threshold)
    left_out = tuple(p for p, score in zip(prompts, scores, strict=True) if score < threshold)
    logger.info("tier 0 leaves out %d of %d prompts", len(left_out), len(prompts))
    by_id = {prompt.prompt_id: float(score) for prompt, score in zip(prompts, scores, strict=True)}
    return replace(
        inputs, candidates=replace(inputs.candidates, prompts=passing), left_out=left_out, screen_scores=by_id
    )
