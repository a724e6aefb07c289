"""Wire the audit: load, record, score, sample, judge, write. The only file that knows all stages."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from rich.console import Console

from audit.config import AuditSettings
from audit.denoiser import Denoiser
from audit.findings import severity
from audit.loading import LoadedModel, ModelError, load_model
from audit.prompts import PromptFileError, PromptSet, read_prompts
from audit.recording import Plan, Recorded, Recorder, record_set
from audit.recover.sample import SamplePlan
from audit.recovering import Sampled, choose, sample_all, sample_paths
from audit.rundir import RunDirectory, RunDirectoryError, fingerprint_of
from audit.scoring import Scored, Shards, score_candidates, top_spikes
from audit.tables import recoveries_table, scores_table, spikes_table
from audit.text_null import text_only_auc
from audit.training_images import TrainingImages, TrainingImagesError, open_training_images
from hooks import (
    SITE_KINDS,
    FingerprintMismatch,
    NewerSchema,
    NonFiniteActivation,
    Site,
    SiteDidNotFire,
    UnknownArchitecture,
    find_sites,
)
from reports.decide import Policy, Verdict, decide
from reports.files import (
    EVIDENCE_FILE,
    HISTOGRAM_FILE,
    RECOVERIES_FILE,
    SCHEMA_VERSION,
    SCORES_FILE,
    SPIKES_FILE,
    SUMMARY_FILE,
    write_text,
)
from reports.markdown import summary_markdown
from reports.panels import PanelRow, evidence_panel, score_histogram
from reports.run_record import Calibration, Counts, ModelIdentity, RunRecord, load_run, results_of
from reports.schema import RECOVERIES_SCHEMA, SPIKES_SCHEMA, scores_schema, write_table
from reports.terminal import print_summary

logger = logging.getLogger(__name__)

USAGE_ERRORS = (
    ModelError,
    PromptFileError,
    RunDirectoryError,
    TrainingImagesError,
    UnknownArchitecture,
    FingerprintMismatch,
    NewerSchema,
)
UNTRUSTED_ERRORS = (SiteDidNotFire, NonFiniteActivation)

_LIBRARIES = ("engram", "torch", "diffusers", "transformers", "numpy")
_NOT_IN_IDENTITY = {"out", "show_prompts", "device", "allow_pickle"}


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What one audit works on."""

    settings: AuditSettings
    loaded: LoadedModel
    sites: tuple[Site, ...]
    candidates: PromptSet
    reference: PromptSet | None


@dataclass(frozen=True, slots=True)
class _Results:
    """What the stages found."""

    recorded: dict[str, Recorded]
    scored: Scored
    sampled: tuple[Sampled, ...]
    evaluations_per_sampled: int
    severities: tuple[str, ...]


@dataclass(slots=True)
class _Stopwatch:
    """Seconds spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 3)


def list_sites(model: str, allow_pickle: bool) -> tuple[Site, ...]:
    """Every site of a model that Engram can record."""
    loaded = load_model(model, device="cpu", dtype=torch.float32, allow_pickle=allow_pickle)
    return find_sites(loaded.pipe, SITE_KINDS)


def run_audit(settings: AuditSettings, *, force: bool) -> Verdict:
    """Run every stage that is not done yet, write the run directory, print the summary, and give the verdict.

    Raises:
        one of USAGE_ERRORS for a mistake in the inputs, of UNTRUSTED_ERRORS for a recording that cannot be trusted.
    """
    torch.set_flush_denormal(True)
    watch = _Stopwatch()
    candidates = read_prompts(settings.prompts, settings.text_column)
    reference = read_prompts(settings.reference) if settings.reference else None
    with watch.stage("load"):
        device = _device(settings.device)
        dtype = _dtype(settings.dtype, device)
        loaded = load_model(settings.model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
        denoiser = Denoiser(loaded.pipe)
        inputs = _Inputs(settings, loaded, find_sites(loaded.pipe, settings.sites), candidates, reference)
    run = RunDirectory.open(settings.out, _identity(inputs), force=force)
    logger.info("%s (%s, %s on %s)", loaded.name, loaded.fingerprint, loaded.dtype, loaded.device)
    logger.info("%d prompts, results in %s", len(candidates.prompts), run.path)
    try:
        return _run_stages(inputs, denoiser, run, watch)
    except KeyboardInterrupt:
        run.update(status="interrupted")
        raise
    except UNTRUSTED_ERRORS as error:
        run.update(status="untrusted", problems=[str(error)])
        raise


def _run_stages(inputs: _Inputs, denoiser: Denoiser, run: RunDirectory, watch: _Stopwatch) -> Verdict:
    settings = inputs.settings
    with watch.stage("record"):
        recorded = _record(inputs, denoiser, run)
    shards = {name: Shards(r.folder, r.n_shards, settings.n_seeds) for name, r in recorded.items()}
    with watch.stage("score"):
        scored = score_candidates(
            *(inputs.sites, shards["candidates"], shards.get("reference")),
            n_components=settings.n_components,
            fpr=settings.fpr,
        )
    with watch.stage("sample"):
        sampled, evaluations = _sample(inputs, run, scored)
        outcomes = {s.position: s.outcome for s in sampled}
        severities = tuple(
            severity(bool(flag), float(q), outcomes.get(position))
            for position, (flag, q) in enumerate(zip(scored.flagged, scored.q_value, strict=True))
        )
    results = _Results(recorded, scored, tuple(sampled), evaluations, severities)
    return _write(inputs, results, shards["candidates"], run, watch)


def _record(inputs: _Inputs, denoiser: Denoiser, run: RunDirectory) -> dict[str, Recorded]:
    recorder = Recorder(denoiser, inputs.sites, _plan(inputs.settings, denoiser))
    recorded = {}
    for name, prompts in (("reference", inputs.reference), ("candidates", inputs.candidates)):
        if prompts is not None:
            fingerprint = fingerprint_of({**run.record["identity"], "set": name})
            manifest = {"fingerprint": fingerprint, **run.record["identity"]}
            folder = run.path / "activations" / name
            recorded[name] = record_set(recorder, prompts.prompts, folder, manifest, f"recording {name}")
    return recorded


def _sample(inputs: _Inputs, run: RunDirectory, scored: Scored) -> tuple[list[Sampled], int]:
    """Sample flagged prompts and controls; also the UE that one prompt costs."""
    settings, pipe = inputs.settings, inputs.loaded.pipe
    plan = SamplePlan(settings.seed, settings.n_samples, settings.sample_steps, settings.guidance_scale)
    positions = choose(scored.spike_score, scored.flagged, settings.max_sampled, settings.seed)
    sampled = sample_all(
        *(pipe, inputs.candidates.prompts, positions, plan),
        run=run.path,
        fingerprint=inputs.loaded.fingerprint,
        training=_training_images(settings, pipe) if positions[0] else None,
        keep_images=settings.images,
    )
    return sampled, plan.evaluations


def _training_images(settings: AuditSettings, pipe: Any) -> TrainingImages | None:
    if settings.train_images is None:
        return None
    height, width = (side * pipe.vae_scale_factor for side in Denoiser(pipe).latent_shape[1:])
    return open_training_images(settings.train_images, height, width)


def _write(inputs: _Inputs, results: _Results, candidates: Shards, run: RunDirectory, watch: _Stopwatch) -> Verdict:
    """Write tables, figures, summary.md and run.json, and print the summary."""
    prompts, scored = inputs.candidates.prompts, results.scored
    flagged = [position for position, flag in enumerate(scored.flagged) if flag]
    with watch.stage("write"):
        spikes = spikes_table(prompts, top_spikes(scored.groups, candidates, flagged, inputs.settings.n_top_neurons))
        scores = scores_table(prompts, scored, results.severities, results.sampled)
        recoveries = recoveries_table(prompts, results.sampled, results.evaluations_per_sampled)
        footer = {"model_fingerprint": inputs.loaded.fingerprint}
        write_table(run.path / SCORES_FILE, scores, scores_schema(list(scored.detectors)), footer)
        write_table(run.path / SPIKES_FILE, spikes, SPIKES_SCHEMA, footer)
        write_table(run.path / RECOVERIES_FILE, recoveries, RECOVERIES_SCHEMA, footer)
        _draw(inputs, results, run)
    record = _run_record(inputs, results, watch)
    verdict = decide(results_of(record), Policy())
    run.update(**{**asdict(record), "verdict": asdict(verdict)})
    finished = load_run(run.path)
    write_text(run.path / SUMMARY_FILE, summary_markdown(finished, scores, recoveries, inputs.settings.show_prompts))
    print_summary(Console(width=None if sys.stdout.isatty() else 120), finished, run.path, scores, spikes, recoveries)
    return verdict


def _draw(inputs: _Inputs, results: _Results, run: RunDirectory) -> None:
    scored = results.scored
    score_histogram(
        scored.reference_score.tolist(), scored.spike_score.tolist(), scored.threshold, run.path / HISTOGRAM_FILE
    )
    heads: dict[int, Sampled] = {}
    for sampled in results.sampled:
        if sampled.finding is not None:
            heads.setdefault(sampled.finding, sampled)
    rows = [
        PanelRow(
            prompt=inputs.candidates.prompts[head.position].text,
            verdict=head.outcome.verdict,
            spike_score=float(scored.spike_score[head.position]),
            q_value=float(scored.q_value[head.position]),
            training_image=head.outcome.nearest.path if head.outcome.nearest else None,
            samples=sample_paths(run.path, inputs.candidates.prompts[head.position], inputs.settings.n_samples),
        )
        for head in heads.values()
    ]
    if rows and inputs.settings.images:
        evidence_panel(rows, run.path / EVIDENCE_FILE)


def _run_record(inputs: _Inputs, results: _Results, watch: _Stopwatch) -> RunRecord:
    settings, scored, reference = inputs.settings, results.scored, inputs.reference
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        status="complete",
        model=ModelIdentity(inputs.loaded.name, inputs.loaded.fingerprint),
        settings=settings.model_dump(mode="json"),
        inputs={"prompts": _described(inputs.candidates), "reference": _described(reference) if reference else None},
        calibration=Calibration(
            fpr=settings.fpr,
            threshold=scored.threshold,
            n_reference=len(scored.reference_score),
            reference_source=reference.source if reference else "the candidates themselves",
            style_auc=_style_auc(inputs, scored),
        ),
        counts=_counts(inputs, results),
        evaluations={
            "record": sum(recorded.n_evaluations for recorded in results.recorded.values()) + settings.n_seeds,
            "sample": len(results.sampled) * results.evaluations_per_sampled,
        },
        timings=watch.seconds,
        versions=_versions(),
        problems=(),
        verdict=None,
    )


def _counts(inputs: _Inputs, results: _Results) -> Counts:
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


def _style_auc(inputs: _Inputs, scored: Scored) -> float | None:
    """How well words alone tell flagged prompts from the reference, or from the unflagged where there is none."""
    texts = [prompt.text for prompt in inputs.candidates.prompts]
    flagged = [text for text, flag in zip(texts, scored.flagged, strict=True) if flag]
    clean = [text for text, flag in zip(texts, scored.flagged, strict=True) if not flag]
    against = [prompt.text for prompt in inputs.reference.prompts] if inputs.reference else clean
    return text_only_auc(flagged, against, inputs.settings.seed)


def _plan(settings: AuditSettings, denoiser: Denoiser) -> Plan:
    return Plan(
        run_seed=settings.seed,
        n_seeds=settings.n_seeds,
        timestep=denoiser.first_timestep(settings.num_inference_steps),
        batch_size=settings.batch_size,
        shard_size=settings.shard_size,
    )


def _identity(inputs: _Inputs) -> dict[str, Any]:
    """Everything that shapes the results, for telling one audit from another."""
    return {
        "model_fingerprint": inputs.loaded.fingerprint,
        "dtype": inputs.loaded.dtype,
        "device": inputs.loaded.device,
        "prompts_sha256": inputs.candidates.sha256,
        "reference_sha256": inputs.reference.sha256 if inputs.reference else None,
        "settings": inputs.settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY),
        "versions": _versions(),
    }


def _described(prompts: PromptSet) -> dict[str, Any]:
    return {
        "source": prompts.source,
        "sha256": prompts.sha256,
        "text_column": prompts.text_column,
        "n_rows": prompts.n_rows,
        "n_empty": prompts.n_empty,
        "n_duplicates": prompts.n_duplicates,
    }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def _device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
