"""Say what an audit would do without doing it: read every input, measure one call of the UNet, and multiply."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from audit.account import display_name
from audit.config import AuditSettings
from audit.denoiser import Denoiser
from audit.denormals import flushed_denormals
from audit.identity import identity_of
from audit.prompts import Prompt, PromptSet
from audit.recording import Recorder, estimate_bytes
from audit.recover.ascend import N_KINSHIP
from audit.recover.climb import BACKWARD_COST
from audit.recover.verify import Verifier
from audit.recovery_settings import VERIFY_SAMPLES, cyclic_plan, known_image_plan, sample_plan, verify_plan
from audit.results import Inputs
from audit.rundir import RunDirectory, existing_above
from audit.session import Session, picture_size, training_images_of
from reports.audit_plan import AuditPlan, Between, Measured, Number, PlannedPrompts, PlannedSites
from reports.run_record import ModelIdentity

_TOKENIZED = 256  # prompts at once
_OF_A_FILE = 2048  # bytes in which a picture states how it was made


def plan_of(session: Session, *, force: bool) -> AuditPlan:
    """What an audit of this session would do; nothing is written.

    Raises:
        RunDirectoryError, TrainingImagesError: what the audit would raise, now or in hours.
    """
    inputs, denoiser, settings = session.inputs, session.denoiser, session.inputs.settings
    status = RunDirectory.examine(settings.out, identity_of(inputs), force=force)
    training = training_images_of(settings, denoiser)
    pace, n_recorded, n_flagged = _pace(session), _n_recorded(inputs), _n_flagged(inputs)
    evaluations = {"record": _over(n_recorded, pace.evaluations), **_recovery(session, n_flagged)}
    return AuditPlan(
        model=ModelIdentity(display_name(settings.model), inputs.model.fingerprint),
        dtype=inputs.model.dtype,
        device=inputs.model.device,
        prompts=_read(inputs.candidates, denoiser),
        reference=_read(inputs.reference, denoiser) if inputs.reference is not None else None,
        reference_recorded=inputs.saved is not None,
        n_training_images=len(training) if training is not None else None,
        sites=_sites(inputs),
        detectors=tuple(detector.name for detector in session.detectors),
        strategies=settings.strategies,
        stages=("record", *(("screen",) if settings.tiers == "screened" else ()), "detect", "recover"),
        n_flagged=n_flagged,
        evaluations=evaluations,
        seconds={stage: _over(spent, pace.seconds) for stage, spent in evaluations.items()},
        measured=pace.measured,
        bytes_of_activations=estimate_bytes(inputs.sites, settings.n_seeds, n_recorded.high),
        bytes_of_pictures=_tried(n_flagged.high, inputs) * _kept(settings, denoiser),
        free_bytes=shutil.disk_usage(existing_above(settings.out)).free,
        memory_of_weights=_weights(denoiser),
        memory_at_peak=torch.cuda.max_memory_allocated() if denoiser.device.type == "cuda" else None,
        out=str(settings.out),
        out_status=status,
        starts_over=force and status is not None,
    )


@dataclass(frozen=True, slots=True)
class _Pace:
    """What recording takes: UE of the empty prompt, once, and of each prompt; and one call that was measured."""

    once: int
    per_prompt: int
    measured: Measured

    def evaluations(self, n_prompts: int) -> int:
        return self.once + n_prompts * self.per_prompt

    def seconds(self, evaluations: int) -> float:
        return evaluations * self.measured.seconds / self.measured.evaluations


def _pace(session: Session) -> _Pace:
    """Record a few prompts and throw them away; the first call evaluates the empty prompt wherever a detector asks."""
    denoiser, prompts, plan = session.denoiser, session.inputs.candidates.prompts, session.recorder_plan
    chosen = prompts[: max(1, plan.batch_size // plan.n_seeds)]
    with flushed_denormals():
        recorder = session.recorder()
        _record(recorder, prompts[:1])
        before, started = denoiser.evaluations, time.monotonic()
        _record(recorder, chosen)
        seconds = time.monotonic() - started
    spent = denoiser.evaluations - before
    per_prompt = spent // len(chosen)
    return _Pace(before - per_prompt, per_prompt, Measured(spent, seconds))


def _record(recorder: Recorder, prompts: Sequence[Prompt]) -> None:
    tokens = recorder.denoiser.tokenize([prompt.text for prompt in prompts])
    _, prompt_embeds = recorder.record_prompt_sites(tokens)
    recorder.record_step_sites(prompt_embeds, tokens.classes)


def _over(counts: Between[int], figure: Callable[[int], Number]) -> Between[Number]:
    """What a figure is between two counts that it grows with."""
    return Between(figure(counts.low), figure(counts.high))


def _n_recorded(inputs: Inputs) -> Between[int]:
    """Prompts that are recorded; of a screened audit at least the loudest candidate."""
    reference = 0 if inputs.reference is None or inputs.saved is not None else len(inputs.reference.prompts)
    candidates = len(inputs.candidates.prompts)
    return Between(reference + (1 if inputs.settings.tiers == "screened" else candidates), reference + candidates)


def _n_flagged(inputs: Inputs) -> Between[int]:
    """Flagged prompts that recovery tries: those expected by chance, rounded up, and all that it may try."""
    n_prompts, limit = len(inputs.candidates.prompts), inputs.settings.max_sampled
    return Between(min(math.ceil(inputs.settings.fpr * n_prompts), limit), min(n_prompts, limit))


def _tried(n_flagged: int, inputs: Inputs) -> int:
    """Flagged prompts and as many controls, as far as there are unflagged ones."""
    return n_flagged + min(n_flagged, len(inputs.candidates.prompts) - n_flagged)


def _recovery(session: Session, n_flagged: Between[int]) -> dict[str, Between[int]]:
    """UE of the ladder, from sampling alone to every rung with a close look, and of the picture detectors."""
    inputs, settings = session.inputs, session.inputs.settings
    look = Verifier(session.denoiser, verify_plan(settings)).most_evaluations
    ascent = (1 + BACKWARD_COST) * settings.ascend_steps + 2 * N_KINSHIP
    dearest = {
        "sample": sample_plan(settings).evaluations + look,
        "ascend": settings.ascend_restarts * (ascent + look),
        "cyclic": cyclic_plan(settings).evaluations(settings.n_samples) + look,
        "known_image": known_image_plan(settings).evaluations + look,
    }
    least, most = _tried(n_flagged.low, inputs), _tried(n_flagged.high, inputs)
    ladder = sum(dearest[strategy] for strategy in settings.strategies)
    measuring = settings.n_samples * sum(detector.evaluations_per_picture for detector in session.picture_detectors)
    recover = {"recover": Between(least * sample_plan(settings).evaluations, most * ladder)}
    return recover | ({"detect_pictures": Between(least * measuring, most * measuring)} if measuring else {})


def _kept(settings: AuditSettings, denoiser: Denoiser) -> int:
    """Bytes that are kept of one prompt, at most: samples, pictures and embedding of each rung, and masks."""
    if not settings.images:
        return 0
    config = denoiser.pipe.unet.config
    width = config.cross_attention_dim
    embedding = denoiser.pipe.tokenizer.model_max_length * (width if isinstance(width, int) else max(width)) * 4
    n_pictures = {"sample": 2 * settings.n_samples + 1, "cyclic": settings.n_samples + 2}
    n_rungs = {strategy: settings.ascend_restarts if strategy == "ascend" else 1 for strategy in settings.strategies}
    picture = math.prod((*picture_size(denoiser), 3)) + _OF_A_FILE
    return sum(n * (n_pictures.get(name, VERIFY_SAMPLES + 2) * picture + embedding) for name, n in n_rungs.items())


def _read(prompts: PromptSet, denoiser: Denoiser) -> PlannedPrompts:
    texts = [prompt.text for prompt in prompts.prompts]
    parts = (texts[start : start + _TOKENIZED] for start in range(0, len(texts), _TOKENIZED))
    return PlannedPrompts(
        prompts.source,
        prompts.n_rows,
        prompts.n_empty,
        prompts.n_duplicates,
        len(texts),
        n_truncated=sum(sum(denoiser.tokenize(part).truncated) for part in parts),
    )


def _sites(inputs: Inputs) -> tuple[PlannedSites, ...]:
    of_kind = {kind: [site for site in inputs.sites if site.kind == kind] for kind in inputs.settings.sites}
    return tuple(
        PlannedSites(kind, len(sites), sum(site.n_neurons for site in sites)) for kind, sites in of_kind.items()
    )


def _weights(denoiser: Denoiser) -> int:
    parts = (denoiser.pipe.unet, denoiser.pipe.text_encoder, denoiser.pipe.vae)
    return sum(weights.numel() * weights.element_size() for part in parts for weights in part.parameters())
