"""The stage of detection: from what is recorded to scores, flags and the neurons behind them; needs no model."""

from __future__ import annotations

from audit.account import calibration_of, detected_entries
from audit.detecting import RecordedSet, detect
from audit.detection_output import write_detected
from audit.evidence_tables import text_null_of, text_sets
from audit.results import DetectedRun, Inputs, RecordedRun
from audit.rundir import RunDirectory
from audit.scoring import top_spikes
from audit.session import chosen_detectors
from audit.stopwatch import Stopwatch
from reports.files import EVIDENCE_FILE, NEURON_GROUPS_FILE, RECOVERIES_FILE, SITE_PROFILES_FILE

_OF_RECOVERY = (RECOVERIES_FILE, NEURON_GROUPS_FILE, SITE_PROFILES_FILE, EVIDENCE_FILE)


def detect_spikes(recorded: RecordedRun, run: RunDirectory, watch: Stopwatch) -> DetectedRun:
    """Score and flag what is recorded, and write the tables; those of a recovery that came before are removed."""
    for name in _OF_RECOVERY:
        (run.path / name).unlink(missing_ok=True)
    with watch.stage("detect"):
        found = _found(recorded)
        write_detected(recorded, found, run.path)
    run.update(**detected_entries(recorded, found, run.path, watch.seconds["detect"]))
    return found


def _found(recorded: RecordedRun) -> DetectedRun:
    inputs, settings = recorded.inputs, recorded.inputs.settings
    sets = {
        name: RecordedSet([prompt.text for prompt in prompts.prompts], recorded.shards(name))
        for name, prompts in (("candidates", inputs.candidates), ("reference", inputs.reference))
        if prompts is not None
    }
    detected = detect(
        inputs.sites,
        chosen_detectors(settings.detectors, settings.sites),
        sets["candidates"],
        sets.get("reference"),
        n_components=settings.n_components,
        fpr=settings.fpr,
        max_style_shift=settings.max_style_shift,
        seed=settings.seed,
        all_texts=_all_texts(inputs),
    )
    flagged = [position for position, flag in enumerate(detected.scored.flagged) if flag]
    spikes = top_spikes(detected.scored.groups, recorded.shards("candidates"), flagged, settings.n_top_neurons)
    text_null = text_null_of(text_sets(inputs, detected.scored), settings.seed)
    style_auc = None if text_null is None else text_null.auc
    return DetectedRun(detected, spikes, text_null, calibration_of(inputs, detected, style_auc))


def _all_texts(inputs: Inputs) -> list[str]:
    """Every candidate's text in the order of the prompt file, those that tier 0 left out among them."""
    texts = {prompt.prompt_id: prompt.text for prompt in (*inputs.candidates.prompts, *inputs.left_out)}
    return [texts[prompt_id] for prompt_id in inputs.screen_scores or texts]
