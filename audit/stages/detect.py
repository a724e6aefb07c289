"""The detection stage: from recorded activations to scores, flags and the neurons behind them; needs no model."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save_file

from flashbulb.audit.detectors import ImageDetector
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.recover.outcome import severities
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.stages.account import build_calibration, detected_entries
from flashbulb.audit.stages.session import select_detectors
from flashbulb.audit.stages.state import DetectedRun, Inputs, RecordedRun
from flashbulb.audit.stages.tables import (
    measure_text_null,
    reference_scores_table,
    scores_table,
    spikes_table,
    text_null_table,
    text_sets,
)
from flashbulb.audit.statistics.flags import Detected, RecordedSet, detect
from flashbulb.audit.statistics.scores import baseline_arrays, baseline_columns, top_spikes
from flashbulb.reports.figures.panels import score_histogram
from flashbulb.reports.tables.evidence import REFERENCE_SCORES_SCHEMA, TEXT_NULL_SCHEMA
from flashbulb.reports.tables.files import (
    BASELINE_FILE,
    EVIDENCE_FILE,
    HISTOGRAM_FILE,
    NEURON_GROUPS_FILE,
    RECOVERIES_FILE,
    REFERENCE_SCORES_FILE,
    SCORES_FILE,
    SITE_PROFILES_FILE,
    SPIKES_FILE,
    TEXT_NULL_FILE,
    atomic_write,
)
from flashbulb.reports.tables.schema import SPIKES_SCHEMA, detector_columns, scores_schema, write_table

_RECOVERY_FILES = (RECOVERIES_FILE, NEURON_GROUPS_FILE, SITE_PROFILES_FILE, EVIDENCE_FILE)


def detect_spikes(recorded: RecordedRun, run: RunDirectory, watch: Stopwatch) -> DetectedRun:
    """Score and flag the recorded prompts and write the tables; removes those of an earlier recovery."""
    for name in _RECOVERY_FILES:
        (run.path / name).unlink(missing_ok=True)
    inputs, settings = recorded.inputs, recorded.inputs.settings
    with watch.stage("detect"):
        detected = detect(
            inputs.sites,
            select_detectors(settings.detectors, settings.sites),
            _recorded_set(recorded, "candidates", inputs.candidates),
            _recorded_set(recorded, "reference", inputs.reference) if inputs.reference is not None else None,
            n_components=settings.n_components,
            fpr=settings.fpr,
            max_style_shift=settings.max_style_shift,
            seed=settings.seed,
            all_texts=_all_texts(inputs),
        )
        detection = _with_evidence(recorded, detected)
        write_detected(recorded, detection, run.path)
    run.update(**detected_entries(recorded, detection, run.path, watch.seconds["detect"]))
    return detection


def _recorded_set(recorded: RecordedRun, name: str, prompts: PromptSet) -> RecordedSet:
    return RecordedSet([prompt.text for prompt in prompts.prompts], recorded.shards(name))


def _with_evidence(recorded: RecordedRun, detected: Detected) -> DetectedRun:
    """Add the neurons behind each flag, and how well the text alone separates flagged from other prompts."""
    inputs, settings, scored = recorded.inputs, recorded.inputs.settings, detected.scored
    flagged = [position for position, is_flagged in enumerate(scored.flagged) if is_flagged]
    spikes = top_spikes(scored.groups, recorded.shards("candidates"), flagged, settings.n_top_neurons)
    text_null = measure_text_null(text_sets(inputs, scored), settings.seed)
    style_auc = None if text_null is None else text_null.auc
    return DetectedRun(detected, spikes, text_null, build_calibration(inputs, detected, style_auc))


def _all_texts(inputs: Inputs) -> list[str]:
    """Return every candidate's text in the order of the prompt file, those that tier 0 left out included."""
    texts = {prompt.prompt_id: prompt.text for prompt in (*inputs.candidates.prompts, *inputs.left_out)}
    return [texts[prompt_id] for prompt_id in inputs.screen_scores or texts]


def write_detected(recorded: RecordedRun, detection: DetectedRun, run: Path) -> None:
    """Write every table that needs no recovery; the columns of image detectors are null."""
    inputs, scored = recorded.inputs, detection.detected.scored
    prompts, settings = inputs.candidates.prompts, inputs.settings
    detectors = select_detectors(settings.detectors, settings.sites)
    untried = severities(scored.flagged.tolist(), scored.q_value.tolist(), {})
    image_detectors = [detector.name for detector in detectors if isinstance(detector, ImageDetector)]
    scores = scores_table(prompts, scored, untried, (), image_detectors, inputs.left_out, inputs.screen_scores)
    texts, footer = text_sets(inputs, scored), {"model_fingerprint": inputs.model.fingerprint}
    with atomic_write(run / BASELINE_FILE) as part:
        save_file(baseline_arrays(scored.groups), part, metadata=baseline_columns(scored.groups))
    write_table(run / SCORES_FILE, scores, scores_schema(detector_columns(scores.schema)), footer)
    write_table(run / SPIKES_FILE, spikes_table(prompts, detection.spikes), SPIKES_SCHEMA, footer)
    write_table(run / REFERENCE_SCORES_FILE, reference_scores_table(inputs, scored), REFERENCE_SCORES_SCHEMA, footer)
    write_table(run / TEXT_NULL_FILE, text_null_table(texts, detection.text_null), TEXT_NULL_SCHEMA, footer)
    score_histogram(
        scored.reference_score.tolist(), scored.spike_score.tolist(), scored.finite_threshold, run / HISTOGRAM_FILE
    )
