"""Plan an audit without running it: read every input, measure one call of the denoiser, and extrapolate."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from flashbulb.audit.additions.chosen import model_name
from flashbulb.audit.canaries.losses import EVALUATIONS_PER_PAIR
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.prompts.prompt_set import PromptSet
from flashbulb.audit.record.recorder import Recorder
from flashbulb.audit.recover.ladder import Strategy
from flashbulb.audit.run.directory import RunDirectory, nearest_existing
from flashbulb.audit.run.torch_state import computing
from flashbulb.audit.stages.kept.identity import audit_identity
from flashbulb.audit.stages.opening.examine import estimate_activations
from flashbulb.audit.stages.opening.session import Session, load_training_images
from flashbulb.audit.stages.recover import build_strategies, chosen_strategies, sample_plan
from flashbulb.audit.stages.results.account import base_identity
from flashbulb.audit.stages.results.state import Inputs
from flashbulb.reports.tables.run_record import ModelIdentity
from flashbulb.reports.views.audit_plan import AuditPlan, MeasuredCall, Number, PlannedPrompts, PlannedSites, Range

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
    record = _map_range(n_recorded, pace.evaluations)
    base_evaluations = {} if inputs.base is None else {"record_base": record}
    recover = {**_recovery(session, n_flagged), **_propensity(session, n_flagged), **_canaries(session)}
    evaluations = {"record": record, **base_evaluations, **recover}
    return AuditPlan(
        model=ModelIdentity(model_name(settings), inputs.model.fingerprint),
        base=base_identity(inputs),
        family=denoiser.title,
        not_offered=denoiser.not_offered,
        dtype=inputs.model.dtype,
        device=inputs.model.device,
        prompts=_count_prompts(inputs.candidates, denoiser),
        reference=_count_prompts(inputs.reference, denoiser) if inputs.reference is not None else None,
        reference_recorded=inputs.saved is not None,
        n_training_images=len(training) if training is not None else None,
        passed_over=training.passed_over if training is not None else (),
        sites=_sites(inputs),
        detectors=tuple(detector.name for detector in session.detectors),
        strategies=inputs.settings.strategies,
        stages=(
            "record",
            *(("screen",) if settings.tiers == "screened" else ()),
            *base_evaluations,
            "detect",
            "recover",
            *(("propensity",) if settings.n_ordinary else ()),
        ),
        n_flagged=n_flagged,
        evaluations=evaluations,
        seconds={stage: _map_range(spent, pace.seconds) for stage, spent in evaluations.items()},
        measured=pace.measured,
        bytes_of_activations=estimate_activations(inputs, n_recorded.high),
        bytes_of_pictures=_n_recovered(n_flagged.high, inputs) * _bytes_per_prompt(session)
        + settings.n_ordinary * _bytes_per_image(session),
        free_bytes=shutil.disk_usage(nearest_existing(settings.out)).free,
        memory_of_weights=denoiser.weight_bytes,
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
    with computing():
        recorder = session.recorder()
        _record(recorder, prompts[:1])
        before, started = denoiser.evaluations, time.monotonic()
        _record(recorder, batch)
        seconds = time.monotonic() - started
    spent = denoiser.evaluations - before
    per_prompt = spent // len(batch)
    return _Pace(before - per_prompt, per_prompt, MeasuredCall(spent, seconds))


def _record(recorder: Recorder, prompts: Sequence[Prompt]) -> None:
    _, encoded = recorder.prompt_sites.read([prompt.text for prompt in prompts])
    recorder.record_step_sites(encoded)


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


def _strategies(session: Session) -> list[Strategy]:
    settings = session.inputs.settings
    return build_strategies(chosen_strategies(settings), settings, session.denoiser, None)


def _recovery(session: Session, n_flagged: Range[int]) -> dict[str, Range[int]]:
    """Return the UE of recovery, from sampling alone to every attempt with verification, and of image detectors."""
    inputs, settings = session.inputs, session.inputs.settings
    least, most = _n_recovered(n_flagged.low, inputs), _n_recovered(n_flagged.high, inputs)
    sampling = sample_plan(settings).evaluations(session.denoiser)
    ladder = sum(strategy.worst_cost for strategy in _strategies(session))
    measuring = settings.n_samples * sum(detector.evaluations_per_image for detector in session.image_detectors)
    recover = {"recover": Range(least * sampling, most * ladder + settings.seed_budget)}
    return recover | ({"detect_pictures": Range(least * measuring, most * measuring)} if measuring else {})


def _canaries(session: Session) -> dict[str, Range[int]]:
    """Return the UE of canaries after recording: from their membership scores alone to the ladder for each of them."""
    canaries = session.inputs.canaries
    if canaries is None:
        return {}
    n, sampling = len(canaries.prompts), sample_plan(session.inputs.settings).evaluations(session.denoiser)
    most = EVALUATIONS_PER_PAIR + sampling + sum(strategy.worst_cost for strategy in _strategies(session))
    return {"canaries": Range(n * EVALUATIONS_PER_PAIR, n * most)}


def _propensity(session: Session, n_flagged: Range[int]) -> dict[str, Range[int]]:
    """Return the UE of sampling ordinary prompts; those that recovery samples as controls are not sampled again."""
    inputs, n = session.inputs, session.inputs.settings.n_ordinary
    cost = replace(sample_plan(inputs.settings), n_samples=1).evaluations(session.denoiser)
    n_controls = 0 if inputs.reference is not None else _n_recovered(n_flagged.high, inputs) - n_flagged.high
    return {"propensity": Range(max(0, n - n_controls) * cost, n * cost)} if n else {}


def _bytes_per_image(session: Session) -> int:
    return math.prod((*session.denoiser.image_size, 3)) + _METADATA_BYTES if session.inputs.settings.images else 0


def _bytes_per_prompt(session: Session) -> int:
    """Return the most bytes on disk per prompt: images, masks, and the embedding of each attempt."""
    if not session.inputs.settings.images:
        return 0
    embedding, image = session.denoiser.unconditional(1).n_values * 4, _bytes_per_image(session)
    return sum(s.n_restarts * (s.kept_images * image + embedding) for s in _strategies(session))


def _count_prompts(prompts: PromptSet, denoiser: Denoiser) -> PlannedPrompts:
    texts = prompts.prompts.texts
    return PlannedPrompts(
        prompts.source,
        prompts.n_rows,
        prompts.n_empty,
        prompts.n_duplicates,
        prompts.n_distinct,
        len(texts),
        n_truncated=len(denoiser.find_truncated(texts)),
    )


def _sites(inputs: Inputs) -> tuple[PlannedSites, ...]:
    sites_by_kind = {kind: [site for site in inputs.sites if site.kind == kind] for kind in inputs.settings.sites}
    return tuple(
        PlannedSites(kind, len(sites), sum(site.n_neurons for site in sites)) for kind, sites in sites_by_kind.items()
    )
