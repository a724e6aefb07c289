"""Wire the audit: load, record, score, sample, judge, write. The only file that knows all stages."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from rich.console import Console
from safetensors.numpy import save_file

from audit.account import Inputs, Results, display_name, finite_threshold, library_versions, run_record
from audit.calibration import MIN_REFERENCE
from audit.config import AuditSettings, SettingsError
from audit.denoiser import Denoiser
from audit.denormals import flushed_denormals
from audit.findings import severity
from audit.loading import ModelError, load_model
from audit.prompts import PromptFileError, PromptSet, read_prompts
from audit.recording import Plan, Recorded, Recorder, estimate_bytes, record_set
from audit.recover.sample import SamplePlan
from audit.recovering import Sampled, choose, sample_all, sample_paths
from audit.rundir import RunDirectory, RunDirectoryError, fingerprint_of
from audit.scoring import Scored, Shards, baseline_arrays, baseline_columns, score_candidates, top_spikes
from audit.tables import recoveries_table, scores_table, spikes_table
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
    BASELINE_FILE,
    EVIDENCE_FILE,
    HISTOGRAM_FILE,
    RECOVERIES_FILE,
    SCORES_FILE,
    SPIKES_FILE,
    SUMMARY_FILE,
    whole_file,
    write_text,
)
from reports.markdown import summary_markdown
from reports.panels import PanelRow, evidence_panel, score_histogram
from reports.run_record import results_of
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

_NOT_IN_IDENTITY = {
    *("model", "prompts", "reference", "out"),  # known by their hashes, or where results go
    *("show_prompts", "device", "allow_pickle", "max_store_gib"),
}


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
    watch = _Stopwatch()
    candidates = read_prompts(settings.prompts, settings.text_column)
    reference = read_prompts(settings.reference, settings.reference_column) if settings.reference else None
    _check_reference_size(reference or candidates)
    if settings.train_images is not None and not settings.train_images.is_dir():
        raise SettingsError(f"no folder {settings.train_images}; give --train-images a folder of training pictures")
    with watch.stage("load"):
        device = _device(settings.device)
        dtype = _dtype(settings.dtype, device)
        loaded = load_model(settings.model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
        denoiser = Denoiser(loaded.pipe)
        inputs = Inputs(settings, loaded, find_sites(loaded.pipe, settings.sites), candidates, reference)
    _check_store_size(inputs)
    run = RunDirectory.open(settings.out, _identity(inputs), force=force)
    logger.info("%s (%s, %s on %s)", display_name(settings.model), loaded.fingerprint, loaded.dtype, loaded.device)
    logger.info("%d prompts, results in %s", len(candidates.prompts), run.path)
    try:
        with flushed_denormals():
            return _run_stages(inputs, denoiser, run, watch)
    except KeyboardInterrupt:
        run.update(status="interrupted")
        raise
    except UNTRUSTED_ERRORS as error:
        run.update(status="untrusted", problems=[str(error)])
        raise


def _check_reference_size(reference: PromptSet) -> None:
    if len(reference.prompts) < MIN_REFERENCE:
        raise SettingsError(
            f"calibration needs at least {MIN_REFERENCE} distinct prompts, {reference.source} has "
            f"{len(reference.prompts)}; give more with --reference"
        )


def _check_store_size(inputs: Inputs) -> None:
    """Refuse to fill a disk: dense activations of a large model and many prompts run into terabytes."""
    settings = inputs.settings
    n_prompts = len(inputs.candidates.prompts) + (len(inputs.reference.prompts) if inputs.reference else 0)
    gib = estimate_bytes(inputs.sites, settings.n_seeds, n_prompts) / 2**30
    if gib > settings.max_store_gib:
        raise SettingsError(
            f"recording {n_prompts} prompts would take up to {gib:.1f} GiB, the limit is {settings.max_store_gib:g}; "
            "use --sites feed_forward, fewer --seeds or fewer prompts, or raise --max-store-gib"
        )


def _run_stages(inputs: Inputs, denoiser: Denoiser, run: RunDirectory, watch: _Stopwatch) -> Verdict:
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
    results = Results(recorded, scored, tuple(sampled), evaluations, severities)
    return _write(inputs, results, shards["candidates"], run, watch)


def _record(inputs: Inputs, denoiser: Denoiser, run: RunDirectory) -> dict[str, Recorded]:
    recorder = Recorder(denoiser, inputs.sites, _plan(inputs.settings, denoiser))
    recorded = {}
    for name, prompts in (("reference", inputs.reference), ("candidates", inputs.candidates)):
        if prompts is not None:
            fingerprint = fingerprint_of({**run.record["identity"], "set": name})
            manifest = {"fingerprint": fingerprint, **run.record["identity"]}
            folder = run.path / "activations" / name
            recorded[name] = record_set(recorder, prompts.prompts, folder, manifest, f"recording {name}")
    return recorded


def _sample(inputs: Inputs, run: RunDirectory, scored: Scored) -> tuple[list[Sampled], int]:
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
        batch_size=settings.batch_size,
    )
    return sampled, plan.evaluations


def _training_images(settings: AuditSettings, pipe: Any) -> TrainingImages | None:
    if settings.train_images is None:
        return None
    height, width = (side * pipe.vae_scale_factor for side in Denoiser(pipe).latent_shape[1:])
    return open_training_images(settings.train_images, height, width)


def _write(inputs: Inputs, results: Results, candidates: Shards, run: RunDirectory, watch: _Stopwatch) -> Verdict:
    """Write tables, figures, summary.md and run.json, and print the summary."""
    prompts, scored = inputs.candidates.prompts, results.scored
    flagged = [position for position, flag in enumerate(scored.flagged) if flag]
    with watch.stage("write"):
        spikes = spikes_table(prompts, top_spikes(scored.groups, candidates, flagged, inputs.settings.n_top_neurons))
        scores = scores_table(prompts, scored, results.severities, results.sampled)
        recoveries = recoveries_table(prompts, results.sampled, results.evaluations_per_sampled)
        with whole_file(run.path / BASELINE_FILE) as part:
            save_file(baseline_arrays(scored.groups), part, metadata=baseline_columns(scored.groups))
        footer = {"model_fingerprint": inputs.loaded.fingerprint}
        write_table(run.path / SCORES_FILE, scores, scores_schema(list(scored.detectors)), footer)
        write_table(run.path / SPIKES_FILE, spikes, SPIKES_SCHEMA, footer)
        write_table(run.path / RECOVERIES_FILE, recoveries, RECOVERIES_SCHEMA, footer)
        _draw(inputs, results, run)
    record = run_record(inputs, results, run.path, watch.seconds)
    verdict = decide(results_of(record), Policy())
    finished = replace(record, verdict=verdict)
    run.update(**asdict(finished))
    write_text(run.path / SUMMARY_FILE, summary_markdown(finished, scores, recoveries, inputs.settings.show_prompts))
    print_summary(Console(width=None if sys.stdout.isatty() else 120), finished, run.path, scores, spikes, recoveries)
    return verdict


def _draw(inputs: Inputs, results: Results, run: RunDirectory) -> None:
    scored = results.scored
    score_histogram(
        scored.reference_score.tolist(),
        scored.spike_score.tolist(),
        finite_threshold(scored),
        run.path / HISTOGRAM_FILE,
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
    (run.path / EVIDENCE_FILE).unlink(missing_ok=True)  # of an earlier try with other training pictures
    if rows and inputs.settings.images:
        evidence_panel(rows, run.path / EVIDENCE_FILE)


def _plan(settings: AuditSettings, denoiser: Denoiser) -> Plan:
    return Plan(
        run_seed=settings.seed,
        n_seeds=settings.n_seeds,
        timestep=denoiser.first_timestep(settings.num_inference_steps),
        batch_size=settings.batch_size,
        shard_size=settings.shard_size,
    )


def _identity(inputs: Inputs) -> dict[str, Any]:
    """Everything that shapes the results, for telling one audit from another."""
    return {
        "model_fingerprint": inputs.loaded.fingerprint,
        "dtype": inputs.loaded.dtype,
        "device": inputs.loaded.device,
        "prompts_sha256": inputs.candidates.sha256,
        "reference_sha256": inputs.reference.sha256 if inputs.reference else None,
        "settings": inputs.settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY),
        "versions": library_versions(),
    }


def _device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.float16
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
