"""Account for an audit: what it worked on, what it found, and the run.json that states both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from audit.config import AuditSettings
from audit.detecting import Detected
from audit.flagging import Scored
from audit.loading import LoadedModel
from audit.planted.paths import MODEL
from audit.prompts import Prompt, PromptSet
from audit.recording import Recorded
from audit.recovering import Recovered
from audit.style import MIN_PROMPTS
from hooks import Site
from reports.files import SCHEMA_VERSION, TABLE_FILES, sha256_of
from reports.rates import percent, rate_of
from reports.recoveries import recovery_counts
from reports.run_record import Calibration, Counts, ModelIdentity, RunRecord, StyleCalibration

_LIBRARIES = ("engram", "torch", "diffusers", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one audit works on.

    Args:
        candidates: those that reach the UNet, all of them unless tier 0 left some out.
        saved: the reference's recording where it comes from a saved calibration.
        left_out: candidates that tier 0 left out, and the tier-0 score of every candidate by prompt_id.
    """

    settings: AuditSettings
    loaded: LoadedModel
    sites: tuple[Site, ...]
    candidates: PromptSet
    reference: PromptSet | None
    saved: Recorded | None
    left_out: tuple[Prompt, ...] = ()
    screen_scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_prompts(self) -> int:
        """Distinct prompts of the prompt file."""
        return len(self.candidates.prompts) + len(self.left_out)


@dataclass(frozen=True, slots=True)
class Results:
    """What the stages found, and the UE that recording and the picture detectors took."""

    recorded: dict[str, Recorded]
    recording_evaluations: int
    detected: Detected
    recovered: tuple[Recovered, ...]
    evaluations_of_detectors: int
    picture_detectors: tuple[str, ...]
    severities: tuple[str, ...]

    @property
    def scored(self) -> Scored:
        """What the detectors say of the candidates."""
        return self.detected.scored


def run_record(
    inputs: Inputs,
    results: Results,
    recoveries: pa.Table,
    run: Path,
    timings: Mapping[str, float],
    style_auc: float | None,
) -> RunRecord:
    """The content of run.json, its verdict still open; the tables in `run` are written already.

    Args:
        style_auc: how well words alone tell flagged prompts from others; None if not measured.
    """
    settings, reference = inputs.settings, inputs.reference
    counts = _counts(inputs, results, recoveries)
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        status="complete",
        model=ModelIdentity(display_name(settings.model), inputs.loaded.fingerprint),
        settings=settings.model_dump(mode="json"),
        inputs={"prompts": _described(inputs.candidates), "reference": _described(reference) if reference else None},
        calibration=_calibration(inputs, results, style_auc),
        counts=counts,
        false_recovery=rate_of(counts.n_false_recoveries, counts.n_controls),
        evaluations={
            "record": results.recording_evaluations,
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


def display_name(model: str) -> str:
    """The model as the user named it; the embedded one by that word, not by where it was installed."""
    return "embedded" if Path(model) == MODEL else model


def _calibration(inputs: Inputs, results: Results, style_auc: float | None) -> Calibration:
    settings, reference, scored = inputs.settings, inputs.reference, results.scored
    return Calibration(
        fpr=settings.fpr,
        threshold=scored.finite_threshold,
        n_reference=len(scored.reference_score),
        reference_source=reference.source if reference else "the candidates themselves",
        style_auc=style_auc,
        style_shift=results.detected.style_shift,
        max_style_shift=settings.max_style_shift,
        pooled=results.detected.pooled,
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


def _counts(inputs: Inputs, results: Results, recoveries: pa.Table) -> Counts:
    candidates, counted = inputs.candidates, recovery_counts(recoveries)
    return Counts(
        n_rows=candidates.n_rows,
        n_empty=candidates.n_empty,
        n_truncated=results.recorded["candidates"].n_truncated,
        n_prompts=inputs.n_prompts,
        n_scored=len(results.scored.spike_score) + len(inputs.left_out),
        n_left_out=len(inputs.left_out),
        n_flagged=int(results.scored.flagged.sum()),
        n_high=results.severities.count("high"),
        n_confirmed_pictures=counted.n_confirmed_pictures,
        n_recovered=counted.n_recovered,
        recovered_by=counted.recovered_by,
        n_controls=counted.n_controls,
        n_false_recoveries=counted.n_false_recoveries,
    )


def _described(prompts: PromptSet) -> dict[str, Any]:
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
