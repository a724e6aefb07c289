"""Write what detection found: baseline, scores, spikes, the tables behind them, and their histogram."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save_file

from audit.detectors import PictureDetector
from audit.evidence_tables import reference_scores_table, text_null_table, text_sets
from audit.findings import severities
from audit.results import DetectedRun, RecordedRun
from audit.scoring import baseline_arrays, baseline_columns
from audit.session import chosen_detectors
from audit.tables import scores_table, spikes_table
from reports.evidence_tables import REFERENCE_SCORES_SCHEMA, TEXT_NULL_SCHEMA
from reports.files import (
    BASELINE_FILE,
    HISTOGRAM_FILE,
    REFERENCE_SCORES_FILE,
    SCORES_FILE,
    SPIKES_FILE,
    TEXT_NULL_FILE,
    whole_file,
)
from reports.panels import score_histogram
from reports.schema import SPIKES_SCHEMA, detector_columns, scores_schema, write_table


def write_detected(recorded: RecordedRun, found: DetectedRun, run: Path) -> None:
    """Write everything that needs no recovery; columns of picture detectors are null."""
    inputs, scored = recorded.inputs, found.detected.scored
    prompts, settings = inputs.candidates.prompts, inputs.settings
    detectors = chosen_detectors(settings.detectors, settings.sites)
    untried = severities(scored.flagged.tolist(), scored.q_value.tolist(), {})
    pictured = [detector.name for detector in detectors if isinstance(detector, PictureDetector)]
    scores = scores_table(prompts, scored, untried, (), pictured, inputs.left_out, inputs.screen_scores)
    texts, footer = text_sets(inputs, scored), {"model_fingerprint": inputs.model.fingerprint}
    with whole_file(run / BASELINE_FILE) as part:
        save_file(baseline_arrays(scored.groups), part, metadata=baseline_columns(scored.groups))
    write_table(run / SCORES_FILE, scores, scores_schema(detector_columns(scores.schema)), footer)
    write_table(run / SPIKES_FILE, spikes_table(prompts, found.spikes), SPIKES_SCHEMA, footer)
    write_table(run / REFERENCE_SCORES_FILE, reference_scores_table(inputs, scored), REFERENCE_SCORES_SCHEMA, footer)
    write_table(run / TEXT_NULL_FILE, text_null_table(texts, found.text_null), TEXT_NULL_SCHEMA, footer)
    score_histogram(
        scored.reference_score.tolist(), scored.spike_score.tolist(), scored.finite_threshold, run / HISTOGRAM_FILE
    )
