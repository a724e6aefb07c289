"""Build the entries of an audit's run.json: inputs, counts and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flashbulb import __version__
from flashbulb.audit.additions.chosen import base_model, model_name
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.stages.results.state import AuditedCanaries, DetectedRun, Inputs, RecordedRun, Results
from flashbulb.audit.statistics.detection import Detected
from flashbulb.reports.bounds.rates import rate_of
from flashbulb.reports.tables.files import SCHEMA_VERSION, sha256_of
from flashbulb.reports.tables.recoveries import recovery_counts
from flashbulb.reports.tables.run_record import (
    COMPLETE,
    DETECTED,
    RECORDED,
    Calibration,
    Counts,
    ModelIdentity,
    RunRecord,
    StyleCalibration,
)
from flashbulb.reports.views.passed_over import passed_over_warnings

_LIBRARIES = ("torch", "diffusers", "transformers", "numpy")


def recorded_entries(recorded: RecordedRun) -> dict[str, Any]:
    """Return the entries of run.json after recording."""
    inputs = recorded.inputs
    return {
        "status": RECORDED,
        "model": asdict(_model(inputs)),
        "base": None if (base := base_identity(inputs)) is None else asdict(base),
        "settings": inputs.settings.model_dump(mode="json"),
        "inputs": _prompt_sources(inputs),
        "frame": asdict(inputs.frame),
        "counts": _prompt_counts(recorded),
        "evaluations": dict(recorded.evaluations),
        "timings": dict(recorded.timings),
        "versions": library_versions(),
        "tables": {},
        "warnings": [],
        "problems": [],
    }


def detected_entries(
    recorded: RecordedRun, detection: DetectedRun, run: Path, seconds: float, tables: Sequence[str]
) -> dict[str, Any]:
    """Return the entries that detection adds to run.json or replaces there.

    Args:
        seconds: time that detection took.
        tables: names of the tables that it wrote into `run`.
    """
    inputs, detected = recorded.inputs, detection.detected
    return {
        "status": DETECTED,
        "calibration": asdict(detection.calibration),
        "counts": {**_prompt_counts(recorded), **_score_counts(inputs, detected)},
        "timings": {**recorded.timings, "detect": seconds},
        "tables": {name: sha256_of(run / name) for name in tables},
        "warnings": list(detection.warnings),
        "problems": list(detection.problems),
    }


def build_run_record(
    results: Results, recoveries: pa.Table, memories: pa.Table, run: Path, timings: Mapping[str, float]
) -> RunRecord:
    """Build run.json of a complete audit, without its verdict; the tables must exist in `run`."""
    inputs, canaries = results.recorded.inputs, results.canaries
    counted = recovery_counts(recoveries, memories)
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        status=COMPLETE,
        model=_model(inputs),
        base=base_identity(inputs),
        settings=inputs.settings.model_dump(mode="json"),
        options=inputs.settings.chosen_options(),
        inputs=_prompt_sources(inputs),
        frame=inputs.frame,
        calibration=results.detection.calibration,
        counts=Counts(
            **_prompt_counts(results.recorded),
            **_score_counts(inputs, results.detected),
            n_high=results.severities.count("high"),
            **asdict(counted),
        ),
        false_recovery=rate_of(counted.n_false_recoveries, counted.n_controls),
        evaluations={
            **results.recorded.evaluations,
            "recover": sum(attempt.evaluations for recovered in results.recovered for attempt in recovered.attempts),
            **({"detect_pictures": n} if (n := results.detector_evaluations) else {}),
            **({} if canaries is None else {"canaries": canaries.evaluations}),
            **({"propensity": results.ordinary.evaluations} if results.ordinary is not None else {}),
        },
        timings=timings,
        versions=library_versions(),
        tables={name: sha256_of(run / name) for name in results.tables},
        warnings=(*results.detection.warnings, *passed_over_warnings(results.passed_over)),
        problems=(*results.detection.problems, *_refused(canaries)),
        verdict=None,
        canaries=None if canaries is None else canaries.record,
        propensity=None if results.ordinary is None else results.ordinary.propensity,
    )


def _refused(canaries: AuditedCanaries | None) -> tuple[str, ...]:
    """Return why canaries, the positive control, show nothing; nothing where they do."""
    return () if canaries is None or canaries.record.refused is None else (canaries.record.refused,)


def _model(inputs: Inputs) -> ModelIdentity:
    return ModelIdentity(model_name(inputs.settings), inputs.model.fingerprint)


def base_identity(inputs: Inputs) -> ModelIdentity | None:
    """Return the base model of the audit; None if none was given."""
    name, base = inputs.settings.baseline_model, inputs.base
    if name is None or base is None:
        return None
    return ModelIdentity(model_name(base_model(inputs.settings, name)), base.fingerprint)


def _prompt_sources(inputs: Inputs) -> dict[str, Any]:
    reference = inputs.reference
    return {
        "prompts": describe_prompts(inputs.candidates),
        "reference": describe_prompts(reference) if reference is not None else None,
    }


def _prompt_counts(recorded: RecordedRun) -> dict[str, Any]:
    inputs = recorded.inputs
    n_truncated_left_out = 0 if inputs.screened is None else len(inputs.screened.cut)
    return {
        "n_rows": inputs.candidates.n_rows,
        "n_empty": inputs.candidates.n_empty,
        "n_truncated": recorded.sets["candidates"].n_truncated + n_truncated_left_out,
        "n_prompts": inputs.n_prompts,
        "n_left_out": inputs.n_left_out,
    }


def _score_counts(inputs: Inputs, detected: Detected) -> dict[str, Any]:
    scored = detected.scored
    return {
        "n_scored": len(scored.spike_score) + inputs.n_left_out,
        "n_flagged": int(scored.flagged.sum()),
        "n_known_by_base": None if scored.known_by_base is None else int(scored.known_by_base.sum()),
    }


def build_calibration(inputs: Inputs, detected: Detected, style_auc: float | None) -> Calibration:
    """Build the calibration entry of run.json: the prompts and the threshold that the scores were calibrated with.

    Args:
        style_auc: how well the text alone separates flagged prompts from others (AUC); None if not measured.
    """
    settings, reference, scored = inputs.settings, inputs.reference, detected.scored
    return Calibration(
        fpr=settings.fpr,
        threshold=scored.finite_threshold,
        n_reference=len(scored.reference_score),
        reference_source=reference.source if reference else "the candidates themselves",
        style_auc=style_auc,
        style_shift=detected.style_shift,
        max_style_shift=settings.max_style_shift,
        pooled=detected.pooled,
        styles=tuple(
            StyleCalibration(
                on_reference=style.on_reference,
                n_calibrating=style.n_calibrating,
                n_candidates=style.n_candidates,
                threshold=style.threshold if np.isfinite(style.threshold) else None,
                tail_shape=style.null.tail_shape,
                tail_error=style.null.tail_error,
            )
            for style in scored.styles
        ),
    )


def describe_prompts(prompts: PromptSet) -> dict[str, Any]:
    """Return where the prompts came from, and how many rows were empty or duplicates."""
    return {
        "source": prompts.source,
        "sha256": prompts.sha256,
        "text_column": prompts.text_column,
        "n_rows": prompts.n_rows,
        "n_empty": prompts.n_empty,
        "n_duplicates": prompts.n_duplicates,
    }


def library_versions() -> dict[str, str]:
    """Return the versions of flashbulb and of the libraries that affect its numbers."""
    return {"flashbulb": __version__, **dict(_installed())}


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Return names and versions of the other libraries, read once: each is a search among all that is installed."""
    return tuple((name, version(name)) for name in _LIBRARIES)
