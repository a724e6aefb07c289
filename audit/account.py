"""Account for an audit: what it worked on, what it found, and the run.json that states both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from audit.detecting import Detected
from audit.planted.paths import MODEL
from audit.prompts import PromptSet
from audit.results import DetectedRun, Inputs, RecordedRun, Results
from audit.style import MIN_PROMPTS
from reports.files import DETECTION_TABLES, SCHEMA_VERSION, TABLE_FILES, sha256_of
from reports.rates import percent, rate_of
from reports.recoveries import recovery_counts
from reports.run_record import (
    COMPLETE,
    DETECTED,
    RECORDED,
    Calibration,
    Counts,
    ModelIdentity,
    RunRecord,
    StyleCalibration,
)

_LIBRARIES = ("engram", "torch", "diffusers", "transformers", "numpy")


def recorded_entries(recorded: RecordedRun) -> dict[str, Any]:
    """What run.json states once everything is recorded."""
    inputs = recorded.inputs
    return {
        "status": RECORDED,
        "model": asdict(_model(inputs)),
        "settings": inputs.settings.model_dump(mode="json"),
        "inputs": _sources(inputs),
        "counts": _prompt_counts(recorded),
        "evaluations": {"record": recorded.evaluations},
        "timings": dict(recorded.timings),
        "versions": library_versions(),
        "tables": {},
        "warnings": [],
        "problems": [],
    }


def detected_entries(recorded: RecordedRun, found: DetectedRun, run: Path, seconds: float) -> dict[str, Any]:
    """What run.json states beyond that once scores and flags are there; their tables in `run` are written already.

    Args:
        seconds: that detection took.
    """
    inputs, detected = recorded.inputs, found.detected
    return {
        "status": DETECTED,
        "calibration": asdict(found.calibration),
        "counts": {**_prompt_counts(recorded), **_score_counts(inputs, detected)},
        "timings": {**recorded.timings, "detect": seconds},
        "tables": {name: sha256_of(run / name) for name in DETECTION_TABLES},
        "warnings": list(_warnings(inputs, detected)),
        "problems": list(_problems(inputs, detected)),
    }


def run_record(results: Results, recoveries: pa.Table, run: Path, timings: Mapping[str, float]) -> RunRecord:
    """The content of run.json, its verdict still open; the tables in `run` are written already."""
    inputs, counted = results.recorded.inputs, recovery_counts(recoveries)
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        status=COMPLETE,
        model=_model(inputs),
        settings=inputs.settings.model_dump(mode="json"),
        inputs=_sources(inputs),
        calibration=results.found.calibration,
        counts=Counts(
            **_prompt_counts(results.recorded),
            **_score_counts(inputs, results.detected),
            n_high=results.severities.count("high"),
            **asdict(counted),
        ),
        false_recovery=rate_of(counted.n_false_recoveries, counted.n_controls),
        evaluations={
            "record": results.recorded.evaluations,
            "recover": sum(rung.evaluations for one in results.recovered for rung in one.rungs),
            **({"detect_pictures": n} if (n := results.evaluations_of_detectors) else {}),
        },
        timings=timings,
        versions=library_versions(),
        tables={name: sha256_of(run / name) for name in TABLE_FILES},
        warnings=_warnings(inputs, results.detected),
        problems=_problems(inputs, results.detected),
        verdict=None,
    )


def _model(inputs: Inputs) -> ModelIdentity:
    return ModelIdentity(display_name(inputs.settings.model), inputs.model.fingerprint)


def _sources(inputs: Inputs) -> dict[str, Any]:
    reference = inputs.reference
    return {
        "prompts": described(inputs.candidates),
        "reference": described(reference) if reference is not None else None,
    }


def _prompt_counts(recorded: RecordedRun) -> dict[str, Any]:
    inputs = recorded.inputs
    return {
        "n_rows": inputs.candidates.n_rows,
        "n_empty": inputs.candidates.n_empty,
        "n_truncated": recorded.sets["candidates"].n_truncated,
        "n_prompts": inputs.n_prompts,
        "n_left_out": len(inputs.left_out),
    }


def _score_counts(inputs: Inputs, detected: Detected) -> dict[str, Any]:
    scored = detected.scored
    return {
        "n_scored": len(scored.spike_score) + len(inputs.left_out),
        "n_flagged": int(scored.flagged.sum()),
    }


def display_name(model: str) -> str:
    """The model as the user named it; the embedded one by that word, not by where it was installed."""
    return "embedded" if Path(model) == MODEL else model


def calibration_of(inputs: Inputs, detected: Detected, style_auc: float | None) -> Calibration:
    """What the scores were calibrated on.

    Args:
        style_auc: how well words alone tell flagged prompts from others; None if not measured.
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


def _warnings(inputs: Inputs, detected: Detected) -> tuple[str, ...]:
    """What a reader of the result has to know; with --strict reasons to distrust it."""
    if inputs.reference is None:
        return ("There is no reference: the candidates calibrated themselves, as if memorized ones were rare.",)
    if detected.style_shift is not None and detected.pooled:
        return (
            f"The reference is of another style than the candidates: words alone tell them apart with an AUC of "
            f"{detected.style_shift:.2f} (limit {inputs.settings.max_style_shift:g}). The candidates helped to "
            "calibrate; give a reference in their style.",
        )
    return ()


def _problems(inputs: Inputs, detected: Detected) -> tuple[str, ...]:
    """Why the result is not to be trusted: an audit that cannot fail must not pass."""
    settings, scored = inputs.settings, detected.scored
    problems = list(_warnings(inputs, detected)) if settings.strict else []
    if settings.strict and inputs.reference is not None and detected.style_shift is None:
        problems.append(f"Whether the reference has the candidates' style cannot be told below {MIN_PROMPTS} prompts.")
    if scored.finite_threshold is None:
        fewest = min(style.n_calibrating for style in scored.styles if not np.isfinite(style.threshold))
        problems.append(
            f"{fewest} reference prompts cannot show a false-positive rate of {percent(settings.fpr)}; "
            f"give at least {int(np.ceil(1 / settings.fpr)) - 1}, or raise --fpr."
        )
    return tuple(problems)


def described(prompts: PromptSet) -> dict[str, Any]:
    """Where prompts came from, and what became of its rows."""
    return {
        "source": prompts.source,
        "sha256": prompts.sha256,
        "text_column": prompts.text_column,
        "n_rows": prompts.n_rows,
        "n_empty": prompts.n_empty,
        "n_duplicates": prompts.n_duplicates,
    }


def library_versions() -> dict[str, str]:
    """Versions of engram and of the libraries that shape its numbers."""
    return {name: version(name) for name in _LIBRARIES}
