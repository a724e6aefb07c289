"""The stage of recording: the reference, then the candidates that tier 0 lets through, shard by shard."""

from __future__ import annotations

import logging
from dataclasses import replace

from audit.account import recorded_entries
from audit.identity import set_identity
from audit.prompts import PromptSet
from audit.recorded_run import ACTIVATIONS, save_recorded
from audit.recording import Recorded, Recorder, record_set
from audit.results import Inputs, RecordedRun
from audit.rundir import RunDirectory, fingerprint_of
from audit.screening import fit_screen, screen_prompts
from audit.session import Session
from audit.shards import Shards
from audit.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


def record_prompts(session: Session, run: RunDirectory, watch: Stopwatch) -> RecordedRun:
    """Record everything that later stages read; shards that are there already, of the same fingerprint, are kept."""
    inputs, sets = session.inputs, dict[str, Recorded]()
    with watch.stage("record"):
        recorder = session.recorder()
        if inputs.saved is not None:
            sets["reference"] = inputs.saved
        elif inputs.reference is not None:
            sets["reference"] = record_named(recorder, run, inputs, "reference", inputs.reference)
    if inputs.settings.tiers == "screened":
        with watch.stage("screen"):
            inputs = _screened(inputs, recorder, sets["reference"])
    with watch.stage("record"):
        sets["candidates"] = record_named(recorder, run, inputs, "candidates", inputs.candidates)
    spent = sum(one.n_evaluations for one in sets.values()) + recorder.initial_evaluations
    recorded = RecordedRun(inputs, sets, spent, dict(watch.seconds))
    save_recorded(run.path, recorded)
    run.update(**recorded_entries(recorded))
    return recorded


def record_named(recorder: Recorder, run: RunDirectory, inputs: Inputs, name: str, prompts: PromptSet) -> Recorded:
    """Record one set into the folder of its name."""
    identity = set_identity(inputs, name, prompts)
    manifest = {"fingerprint": fingerprint_of(identity), **identity}
    return record_set(recorder, prompts.prompts, run.path / ACTIVATIONS / name, manifest, f"recording {name}")


def _screened(inputs: Inputs, recorder: Recorder, reference: Recorded) -> Inputs:
    """Leave the calmest candidates out of everything that follows."""
    settings, prompts = inputs.settings, inputs.candidates.prompts
    shards = Shards(reference.folder, reference.n_shards, settings.n_seeds)
    screen = fit_screen(inputs.sites, shards, n_components=settings.n_components, share=settings.screened_share)
    scores = screen_prompts(screen, recorder, prompts)
    threshold = min(screen.threshold, float(scores.max()))  # the loudest always goes on
    going_on = tuple(p for p, score in zip(prompts, scores, strict=True) if score >= threshold)
    left_out = tuple(p for p, score in zip(prompts, scores, strict=True) if score < threshold)
    logger.info("tier 0 leaves out %d of %d prompts", len(left_out), len(prompts))
    by_id = {prompt.prompt_id: float(score) for prompt, score in zip(prompts, scores, strict=True)}
    return replace(
        inputs, candidates=replace(inputs.candidates, prompts=going_on), left_out=left_out, screen_scores=by_id
    )
