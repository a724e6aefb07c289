"""Plan an audit without running it: read every input, measure one call of the UNet, and extrapolate."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from flashbulb.audit.ascent.climb import BACKWARD_COST
from flashbulb.audit.model.loading import flushed_denormals
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.prompt_set import Prompt, PromptSet
from flashbulb.audit.record.recorder import Recorder, estimate_bytes
from flashbulb.audit.recover.strategies.ascend import N_KINSHIP
from flashbulb.audit.recover.verify import Verifier
from flashbulb.audit.run.directory import RunDirectory, nearest_existing
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.account import display_name
from flashbulb.audit.stages.identity import audit_identity
from flashbulb.audit.stages.recover import VERIFY_SAMPLES, cyclic_plan, known_image_plan, sample_plan, verify_plan
from flashbulb.audit.stages.session import Session, image_size, load_training_images
from flashbulb.audit.stages.state import Inputs
from flashbulb.reports.tables.run_record import ModelIdentity
from flashbulb.reports.views.audit_plan import AuditPlan, MeasuredCall, Number, PlannedPrompts, PlannedSites, Range

_TOKENIZE_BATCH = 256  # prompts
_METADATA_BYTES = 2048  # of an image file


def plan_audit(session: Session, *, force: bool) -> AuditPlan:
    """Return what an audit of this session would do and cost; write nothing.

    Raises:
        RunDirectoryError, TrainingImagesError: the audit would raise the same, possibly after hours.
    """
    inputs, denoiser, settings = session.inputs, session.denoiser, session.inputs.settings
    status = RunDirectory.examine(settings.out, audit_identity(inputs), force=force)
    training = load_training_images(settings, denoiser)
    pace, n_recorded, n_flagged = _pace(session), _n_recorded(inputs), _n_flagged(inputs)
    evaluations = {"record": _map_range(n_recorded, pace.evaluations), **_recovery(session, n_flagged)}
    return AuditPlan(
        model=ModelIdentity(display_name(settings.model), inputs.model.fingerprint),
        dtype=inputs.model.dtype,
        device=inputs.model.device,
        prompts=_count_prompts(inputs.candidates, denoiser),
        reference=_count_prompts(inputs.reference, denoiser) if inputs.reference is not None else None,
        reference_recorded=inputs.saved is not None,
        n_training_images=len(training) if training is not None else None,
        sites=_sites(inputs),
        detectors=tuple(detector.name for detector in session.detectors),
        strategies=settings.strategies,
        stages=("record", *(("screen",) if settings.tiers == "screened" else ()), "detect", "recover"),
        n_flagged=n_flagged,
        evaluations=evaluations,
        seconds={stage: _map_range(spent, pace.seconds) for stage, spent in evaluations.items()},
        measured=pace.measured,
        bytes_of_activations=estimate_bytes(inputs.sites, settings.n_seeds, n_recorded.high),
        bytes_of_pictures=_n_recovered(n_flagged.high, inputs) * _bytes_per_prompt(settings, denoiser),
        free_bytes=shutil.disk_usage(nearest_existing(settings.out)).free,
        memory_of_weights=_weight_bytes(denoiser),
        memory_at_peak=torch.cuda.max_memory_allocated() if denoiser.device.type == "cuda" else None,
        out=str(settings.out),
        out_status=status,
        starts_over=force and status is not None,
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    """What recording costs.

    Args:
        once: UE of the empty prompt, evaluated once for all prompts.
        per_prompt: UE of each prompt.
        measured: the call that was timed.
    """

    once: int
    per_prompt: int
    measured: MeasuredCall

    def evaluations(self, n_prompts: int) -> int:
        return self.once + n_prompts * self.per_prompt

    def seconds(self, evaluations: int) -> float:
        return evaluations * self.measured.seconds / self.measured.evaluations


def _pace(session: Session) -> _Pace:
    """Record a few prompts and discard the result.

    The first call, which is not timed, also evaluates the empty prompt if a detector needs it.
    """
    denoiser, prompts, plan = session.denoiser, session.inputs.candidates.prompts, session.recorder_plan
    batch = prompts[: max(1, plan.batch_size // plan.n_seeds)]
    with flushed_denormals():
        recorder = session.recorder()
        _record(recorder, prompts[:1])
        before, started = denoiser.evaluations, time.monotonic()
        _record(recorder, batch)
        seconds = time.monotonic() - started
    spent = denoiser.evaluations - before
    per_prompt = spent // len(batch)
    return _Pace(before - per_prompt, per_prompt, MeasuredCall(spent, seconds))


def _record(recorder: Recorder, prompts: Sequence[Prompt]) -> None:
    tokens = recorder.denoiser.tokenize([prompt.text for prompt in prompts])
    _, prompt_embeds = recorder.record_prompt_sites(tokens)
    recorder.record_step_sites(prompt_embeds, tokens.classes)


def _map_range(counts: Range[int], function: Callable[[int], Number]) -> Range[Number]:
    """Apply an increasing function to both bounds of a range."""
    return Range(function(counts.low), function(counts.high))


def _n_recorded(inputs: Inputs) -> Range[int]:
    """Return the number of recorded prompts; a screened audit records at least the candidate of the highest score."""
    n_prompts = sum(len(prompts.prompts) for prompts in inputs.sets_to_record.values())
    most_left_out = len(inputs.candidates.prompts) - 1 if inputs.settings.tiers == "screened" else 0
    return Range(n_prompts - most_left_out, n_prompts)


def _n_flagged(inputs: Inputs) -> Range[int]:
    """Return the number of flagged prompts to recover: from those expected by chance, rounded up, to the limit."""
    n_prompts, limit = len(inputs.candidates.prompts), inputs.settings.max_sampled
    return Range(min(math.ceil(inputs.settings.fpr * n_prompts), limit), min(n_prompts, limit))


def _n_recovered(n_flagged: int, inputs: Inputs) -> int:
    """Return the number of prompts on the ladder: flagged ones and as many controls, if enough are unflagged."""
    return n_flagged + min(n_flagged, len(inputs.candidates.prompts) - n_flagged)


def _recovery(session: Session, n_flagged: Range[int]) -> dict[str, Range[int]]:
    """Return the UE of recovery, from sampling alone to every attempt with verification, and of image detectors."""
    inputs, settings = session.inputs, session.inputs.settings
    verification = Verifier(session.denoiser, verify_plan(settings)).most_evaluations
    ascent = (1 + BACKWARD_COST) * settings.ascend_steps + 2 * N_KINSHIP
    highest_cost = {
        "sample": sample_plan(settings).evaluations + verification,
        "ascend": settings.ascend_restarts * (ascent + verification),
        "cyclic": cyclic_plan(settings).evaluations(settings.n_samples) + verification,
        "known_image": known_image_plan(settings).evaluations + verification,
    }
    least, most = _n_recovered(n_flagged.low, inputs), _n_recovered(n_flagged.high, inputs)
    ladder = sum(highest_cost[strategy] for strategy in settings.strategies)
    measuring = settings.n_samples * sum(detector.evaluations_per_image for detector in session.image_detectors)
    recover = {"recover": Range(least * sample_plan(settings).evaluations, most * ladder)}
    return recover | ({"detect_pictures": Range(least * measuring, most * measuring)} if measuring else {})


def _bytes_per_prompt(settings: AuditSettings, denoiser: Denoiser) -> int:
    """Return the most bytes on disk per prompt: samples, masks, and images and embedding of each attempt."""
    if not settings.images:
        return 0
    config = denoiser.pipe.unet.config
    width = config.cross_attention_dim
    embedding = denoiser.pipe.tokenizer.model_max_length * (width if isinstance(width, int) else max(width)) * 4
    n_images = {"sample": 2 * settings.n_samples + 1, "cyclic": settings.n_samples + 2}
    n_attempts = {strategy: settings.ascend_restarts if strategy == "ascend" else 1 for strategy in settings.strategies}
    image = math.prod((*image_size(denoiser), 3)) + _METADATA_BYTES
    return sum(n * (n_images.get(name, VERIFY_SAMPLES + 2) * image + embedding) for name, n in n_attempts.items())


def _count_prompts(prompts: PromptSet, denoiser: Denoiser) -> PlannedPrompts:
    texts = [prompt.text for prompt in prompts.prompts]
    batches = (texts[start : start + _TOKENIZE_BATCH] for start in range(0, len(texts), _TOKENIZE_BATCH))
    return PlannedPrompts(
        prompts.source,
        prompts.n_rows,
        prompts.n_empty,
        prompts.n_duplicates,
        len(texts),
        n_truncated=sum(sum(denoiser.tokenize(batch).truncated) for batch in batches),
    )


def _sites(inputs: Inputs) -> tuple[PlannedSites, ...]:
    sites_by_kind = {kind: [site for site in inputs.sites if site.kind == kind] for kind in inputs.settings.sites}
    return tuple(
        PlannedSites(kind, len(sites), sum(site.n_neurons for site in sites)) for kind, sites in sites_by_kind.items()
    )


def _weight_bytes(denoiser: Denoiser) -> int:
    parts = (denoiser.pipe.unet, denoiser.pipe.text_encoder, denoiser.pipe.vae)
    return sum(weights.numel() * weights.element_size() for part in parts for weights in part.parameters())
