"""Account for an audit: what it worked on, what it found, and the run.json that states both."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from audit.config import AuditSettings
from audit.loading import LoadedModel
from audit.planted.paths import MODEL
from audit.prompts import PromptSet
from audit.recording import Recorded
from audit.recovering import Sampled
from audit.scoring import Scored
from audit.text_null import text_only_auc
from hooks import Site
from reports.files import RECOVERIES_FILE, SCHEMA_VERSION, SCORES_FILE, SPIKES_FILE, sha256_of
from reports.rates import percent
from reports.run_record import Calibration, Counts, ModelIdentity, RunRecord

_LIBRARIES = ("engram", "torch", "diffusers", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one audit works on."""

    settings: AuditSettings
    loaded: LoadedModel
    sites: tuple[Site, ...]
    candidates: PromptSet
    reference: PromptSet | None


@dataclass(frozen=True, slots=True)
class Results:
    """What the stages found."""

    recorded: dict[str, Recorded]
    scored: Scored
    sampled: tuple[Sampled, ...]
    evaluations_per_sampled: int
    severities: tuple[str, ...]


def run_record(inputs: Inputs, results: Results, run: Path, timings: dict[str, float]) -> RunRecord:
    """The content of run.json, its verdict still open; the tables in `run` are written already."""
    settings, scored, reference = inputs.settings, results.scored, inputs.reference
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        status="complete",
        model=ModelIdentity(display_name(settings.model), inputs.loaded.fingerprint),
        settings=settings.model_dump(mode="json"),
        inputs={"prompts": _described(inputs.candidates), "reference": _described(reference) if reference else None},
        calibration=Calibration(
            fpr=settings.fpr,
            threshold=finite_threshold(scored),
            n_reference=len(scored.reference_score),
            reference_source=reference.source if reference else "the candidates themselves",
            style_auc=_style_auc(inputs, scored),
        ),
        counts=_counts(inputs, results),
        evaluations={
            "record": sum(recorded.n_evaluations for recorded in results.recorded.values()) + settings.n_seeds,
            "sample": len(results.sampled) * results.evaluations_per_sampled,
        },
        timings=timings,
        versions=library_versions(),
        tables={name: sha256_of(run / name) for name in (SCORES_FILE, SPIKES_FILE, RECOVERIES_FILE)},
        problems=_problems(scored, settings.fpr),
        verdict=None,
    )


def display_name(model: str) -> str:
    """The model as the user named it; the embedded one by that word, not by where it was installed."""
    return "embedded" if Path(model) == MODEL else model


def finite_threshold(scored: Scored) -> float | None:
    """The threshold, or None where the reference cannot show so low a false-positive rate."""
    return scored.threshold if np.isfinite(scored.threshold) else None


def _problems(scored: Scored, fpr: float) -> tuple[str, ...]:
    """Why nothing could have been flagged: an audit that cannot fail must not pass."""
    if finite_threshold(scored) is not None:
        return ()
    return (
        f"{len(scored.reference_score)} reference prompts cannot show a false-positive rate of {percent(fpr)}; "
        f"give at least {int(np.ceil(1 / fpr)) - 1}, or raise --fpr.",
    )


def _counts(inputs: Inputs, results: Results) -> Counts:
    candidates, sampled = inputs.candidates, results.sampled
    confirmed = {s.finding for s in sampled if not s.is_control and s.outcome.verdict == "confirmed"}
    controls = [s for s in sampled if s.is_control]
    return Counts(
        n_rows=candidates.n_rows,
        n_empty=candidates.n_empty,
        n_truncated=results.recorded["candidates"].n_truncated,
        n_prompts=len(candidates.prompts),
        n_scored=len(results.scored.spike_score),
        n_flagged=int(results.scored.flagged.sum()),
        n_high=results.severities.count("high"),
        n_confirmed_pictures=len(confirmed),
        n_controls=len(controls),
        n_false_recoveries=sum(s.outcome.verdict != "not_shown" for s in controls),
    )


def _style_auc(inputs: Inputs, scored: Scored) -> float | None:
    """How well words alone tell flagged prompts from the reference, or from the unflagged where there is none."""
    texts = [prompt.text for prompt in inputs.candidates.prompts]
    flagged = [text for text, flag in zip(texts, scored.flagged, strict=True) if flag]
    clean = [text for text, flag in zip(texts, scored.flagged, strict=True) if not flag]
    against = [prompt.text for prompt in inputs.reference.prompts] if inputs.reference else clean
    return text_only_auc(flagged, against, inputs.settings.seed)


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
