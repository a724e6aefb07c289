"""The detection stage: from recorded activations to scores, flags and the neurons behind them; needs no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.recover.outcome import severities
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import SettingsError
from flashbulb.audit.stages.kept.bulk import kept_neurons, open_fit
from flashbulb.audit.stages.opening.detectors import select_detectors
from flashbulb.audit.stages.results.account import build_calibration, detected_entries
from flashbulb.audit.stages.results.doubts import problems_of, warnings_of
from flashbulb.audit.stages.results.state import DetectedRun, RecordedRun
from flashbulb.audit.stages.results.tables import (
    measure_text_null,
    reference_scores_table,
    scores_table,
    spikes_table,
    text_null_table,
    text_sets,
)
from flashbulb.audit.statistics.detection import BaseShards, Detected, RecordedSet, detect
from flashbulb.audit.statistics.flags import choose
from flashbulb.audit.statistics.reduced import read_kept
from flashbulb.audit.statistics.scores import baseline_arrays, baseline_columns
from flashbulb.audit.statistics.spikes import BaseNeurons, read_neurons
from flashbulb.reports.figures.panels import score_histogram
from flashbulb.reports.tables.evidence import REFERENCE_SCORES_SCHEMA, TEXT_NULL_SCHEMA
from flashbulb.reports.tables.files import (
    BASELINE_FILE,
    CANARIES_FILE,
    DETECTION_TABLES,
    EVIDENCE_FILE,
    GUESSES_FILE,
    HISTOGRAM_FILE,
    NEURON_GROUPS_FILE,
    PROPENSITY_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TEXT_NULL_FILE,
    atomic_write,
)
from flashbulb.reports.tables.schema import schema_of_scores, spikes_schema, write_table

_STALE_FILES = (
    *(SCORES_FILE, RECOVERIES_FILE, NEURON_GROUPS_FILE, SITE_PROFILES_FILE, PROPENSITY_FILE),
    *(EVIDENCE_FILE, CANARIES_FILE, GUESSES_FILE),
)
"""Files of an earlier detection or recovery that would contradict this detection."""


def detect_spikes(recorded: RecordedRun, run: RunDirectory, watch: Stopwatch, *, writes_scores: bool) -> DetectedRun:
    """Score and flag the recorded prompts and write the tables; removes those of an earlier recovery.

    Args:
        writes_scores: write scores.parquet; otherwise recovery writes it, once it is complete.
    """
    for name in _STALE_FILES:
        (run.path / name).unlink(missing_ok=True)
    with watch.stage("detect"):
        detection = _detect(recorded)
        write_detected(recorded, detection, run.path)
        if writes_scores:
            write_scores(recorded, detection, run.path)
    written = tuple(name for name in DETECTION_TABLES if writes_scores or name != SCORES_FILE)
    run.update(**detected_entries(recorded, detection, run.path, watch.seconds["detect"], written))
    return detection


def _detect(recorded: RecordedRun) -> DetectedRun:
    inputs, settings = recorded.inputs, recorded.inputs.settings
    detected = detect(
        inputs.sites,
        select_detectors(settings.detectors, settings.sites),
        _recorded_set(recorded, "candidates", inputs.candidates),
        _recorded_set(recorded, "reference", inputs.reference) if inputs.reference is not None else None,
        n_components=settings.n_components,
        fpr=settings.fpr,
        max_style_shift=settings.max_style_shift,
        seed=settings.seed,
        all_texts=inputs.all_texts,
        base=_base_shards(recorded),
        bulk=open_fit(inputs, recorded.sets["candidates"]),
    )
    if inputs.base is not None and not (detected.scored.spike_score.any() or detected.scored.reference_score.any()):
        raise SettingsError(
            f"the model and --baseline-model {settings.baseline_model} have the same spike score for every prompt, so "
            "what is recorded was not trained; give the model that this one was fine-tuned from"
        )
    return _with_evidence(recorded, detected)


def _recorded_set(recorded: RecordedRun, name: str, prompts: PromptSet) -> RecordedSet:
    return RecordedSet(prompts.prompts.texts, recorded.shards(name))


def _base_shards(recorded: RecordedRun) -> BaseShards | None:
    if recorded.inputs.base is None:
        return None
    has_reference = recorded.inputs.reference is not None
    return BaseShards(recorded.base_shards("candidates"), recorded.base_shards("reference") if has_reference else None)


def _base_neurons(recorded: RecordedRun, detected: Detected) -> BaseNeurons | None:
    if recorded.inputs.base is None:
        return None
    return BaseNeurons(detected.base_groups, recorded.base_shards("candidates"))


def _with_evidence(recorded: RecordedRun, detected: Detected) -> DetectedRun:
    """Add controls, the neurons behind each flag, and how well the text alone separates flagged from other prompts."""
    inputs, settings, scored = recorded.inputs, recorded.inputs.settings, detected.scored
    flagged = np.flatnonzero(scored.flagged).tolist()
    chosen = choose(scored, settings.max_sampled, settings.seed)
    kept, shards, wanted = kept_neurons(settings), recorded.shards("candidates"), [*flagged, *chosen.controls]
    neurons = read_neurons(scored.groups, shards, wanted, kept, _base_neurons(recorded, detected))
    neurons |= read_kept(scored.groups, shards, wanted, kept)
    text_null = measure_text_null(text_sets(inputs, scored), settings.seed)
    return DetectedRun(
        detected=detected,
        chosen=chosen,
        flagged={position: neurons[position] for position in flagged},
        controls={position: neurons[position] for position in chosen.controls},
        text_null=text_null,
        calibration=build_calibration(inputs, detected, None if text_null is None else text_null.auc),
        warnings=warnings_of(recorded, detected),
        problems=problems_of(inputs, detected),
    )


def write_scores(recorded: RecordedRun, detection: DetectedRun, run: Path) -> None:
    """Write scores.parquet without the results of recovery; the columns of image detectors are null."""
    inputs, settings, scored = recorded.inputs, recorded.inputs.settings, detection.detected.scored
    detectors = select_detectors(settings.detectors, settings.sites)
    untried = severities(scored.flagged.tolist(), scored.q_value.tolist(), {})
    image_detectors = [detector.name for detector in detectors if isinstance(detector, ImageDetector)]
    scores = scores_table(inputs.candidates.prompts, scored, untried, (), image_detectors, inputs.screened)
    footer = {"model_fingerprint": inputs.model.fingerprint}
    write_table(run / SCORES_FILE, scores, schema_of_scores(scores), footer)


def write_detected(recorded: RecordedRun, detection: DetectedRun, run: Path) -> None:
    """Write every table and figure that needs no recovery, except scores.parquet."""
    inputs, scored = recorded.inputs, detection.detected.scored
    texts, footer = text_sets(inputs, scored), {"model_fingerprint": inputs.model.fingerprint}
    with atomic_write(run / BASELINE_FILE) as part:
        part.write_bytes(save(baseline_arrays(scored.groups), baseline_columns(scored.groups)))
    has_base = inputs.base is not None
    spikes = spikes_table(inputs.candidates.prompts, detection.flagged, has_base=has_base)
    write_table(run / SPIKES_FILE, spikes, spikes_schema(has_base=has_base), footer)
    write_table(run / REFERENCE_SCORES_FILE, reference_scores_table(inputs, scored), REFERENCE_SCORES_SCHEMA, footer)
    write_table(run / TEXT_NULL_FILE, text_null_table(texts, detection.text_null), TEXT_NULL_SCHEMA, footer)
    thresholds = [style.threshold for style in scored.styles if style.n_candidates and np.isfinite(style.threshold)]
    score_histogram(scored.reference_score.tolist(), scored.spike_score.tolist(), thresholds, run / HISTOGRAM_FILE)
