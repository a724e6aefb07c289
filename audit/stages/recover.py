"""The recovery stage: take flagged prompts and controls up the ladder, judge what came back, and finish the audit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from flashbulb.audit.additions.chosen import base_model, chosen_model
from flashbulb.audit.additions.lora import MergedLoras
from flashbulb.audit.ascent.neurons import NeuronScores
from flashbulb.audit.canaries.manifest import IMAGES_FOLDER
from flashbulb.audit.execute.recovering import ClimbedNeurons, Recoverer, RecoverySpec
from flashbulb.audit.execute.workers import open_workers
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.ladder import Strategy, Target, Tools
from flashbulb.audit.recover.outcome import severities
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.recover.targets import target_of
from flashbulb.audit.recover.tasks import Performer
from flashbulb.audit.recover.verify import VERIFY_SAMPLES, VERIFY_STEPS, Verifier, VerifyPlan
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.run.together import undo_cut_off
from flashbulb.audit.settings import AblateSettings, AuditSettings, CompareSettings
from flashbulb.audit.stages.canaries import audit_canaries
from flashbulb.audit.stages.kept.identity import attempt_fingerprints
from flashbulb.audit.stages.opening.session import Session, training_source
from flashbulb.audit.stages.record import unchanged_model, workers_of
from flashbulb.audit.stages.results.finish import write_results
from flashbulb.audit.stages.results.propensity import measure_propensity
from flashbulb.audit.stages.results.state import DetectedRun, RecordedRun, Results
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.audit.training_images.storage import TrainingSource
from flashbulb.reports.tables.files import CANARIES_FOLDER
from flashbulb.reports.tables.verdict import Verdict


def recover_images(
    session: Session, recorded: RecordedRun, detection: DetectedRun, run: RunDirectory, watch: Stopwatch
) -> Verdict:
    """Take what is flagged up the ladder, write everything a finished audit has, and return the verdict."""
    settings, scored = recorded.inputs.settings, detection.detected.scored
    prompts = recorded.inputs.candidates.prompts
    undo_cut_off(run.path)
    canaries, ordinary = None, None
    with ExitStack() as workers:
        with watch.stage("recover"):
            climbed = [group for group in scored.groups if group.kind == settings.ascend_kind]
            climbs = any(strategy.needs_neurons for strategy in chosen_strategies(settings))
            group = climbed[0] if climbed and climbs else None
            targets = collect_targets(group, prompts, detection)
            samples = bool(detection.chosen.flagged or settings.n_ordinary)
            here = prepare_recovery(session, recorded, detection, run, group, samples=samples)
            performer = workers.enter_context(open_performer(settings, here))
            recovered = recover_all(here.recovery, prompts, detection.chosen, targets, performer)
        if recorded.inputs.canaries is not None:
            with watch.stage("canaries"):
                canaries = audit_canaries(recorded, detection, here.apart, performer, run.path, group)
        if settings.n_ordinary:
            with watch.stage("propensity"):
                ordinary = measure_propensity(here.recovery, performer, recorded.inputs, scored, recovered)
    outcomes = {prompt.position: prompt.best.outcome for prompt in recovered}
    severity = severities(scored.flagged.tolist(), scored.q_value.tolist(), outcomes)
    detectors = session.image_detectors
    measuring = sum(detector.evaluations_per_image for detector in detectors) * settings.n_samples
    names = tuple(detector.name for detector in detectors)
    measured = measuring * len(recovered)
    results = Results(
        recorded, detection, tuple(recovered), measured, names, severity, here.recovery.training, ordinary, canaries
    )
    return write_results(results, run, {**recorded.timings, **watch.seconds})


@contextmanager
def open_performer(settings: AuditSettings, here: Recoverer) -> Iterator[Performer]:
    """Yield what recovers prompts: this process, or workers that load the model as well."""
    workers = workers_of(settings, here.spec.device, here.recovery.denoiser.weight_bytes)
    if workers is None:
        yield here
        return
    with open_workers(here.spec, workers) as coordinator:
        yield coordinator


def prepare_recovery(
    session: Session,
    recorded: RecordedRun,
    detection: DetectedRun,
    run: RunDirectory,
    group: GroupScores | None,
    *,
    samples: bool,
) -> Recoverer:
    """Gather what every prompt's recovery shares, as plain values for any process, and build it on the loaded model.

    Args:
        group: scores of the neurons to climb; None where no strategy climbs.
        samples: a prompt is sampled; otherwise training images are not read.
    """
    inputs, settings = recorded.inputs, recorded.inputs.settings
    base, chosen, neurons = None, chosen_strategies(settings), None
    if group is None:
        chosen = [strategy for strategy in chosen if not strategy.needs_neurons]
    else:
        neurons = ClimbedNeurons(group.columns, group.baselines[0], session.timestep)
    if inputs.base is not None and settings.baseline_model is not None and session.loras is None:
        base = unchanged_model(inputs.base, base_model(settings, settings.baseline_model), settings.clip_skip)
    spec = RecoverySpec(
        model=unchanged_model(inputs.model, chosen_model(settings), settings.clip_skip),
        base=base,
        base_is_inside=session.loras is not None,
        strategies=tuple(strategy.name for strategy in chosen),
        values=dict(settings),
        neurons=neurons,
        identities=attempt_fingerprints(inputs, detection.detected.pooled),
        detectors=tuple(detector.name for detector in session.image_detectors),
        training=training_source(settings) if samples else None,
        plan=sample_plan(settings),
        verify=verify_plan(settings),
        run=run.path,
        keep_images=settings.images,
        batch_size=settings.latents_per_call,
        seed_budget=settings.seed_budget,
    )
    if settings.canaries is not None:
        spec = replace(spec, apart=_for_canaries(spec, settings.canaries, compares=settings.train_images is not None))
    return Recoverer(spec, session.denoiser, session.loras or MergedLoras())


def _for_canaries(spec: RecoverySpec, manifest: Path, *, compares: bool) -> RecoverySpec:
    """Return the recovery of canaries: in a folder of their own, with their own images as training images.

    Args:
        compares: the audit compares with training images.
    """
    training = TrainingSource(manifest.parent / IMAGES_FOLDER) if compares else None
    return replace(spec, run=spec.run / CANARIES_FOLDER, detectors=(), training=training, seed_budget=0)


def chosen_strategies(settings: AuditSettings) -> list[type[Strategy]]:
    """Return the chosen strategies, in the order of the ladder."""
    return [strategy for name, strategy in find_strategies().items() if name in settings.strategies]


def build_strategies(
    strategies: Sequence[type[Strategy]], settings: AuditSettings, denoiser: Denoiser, scores: NeuronScores | None
) -> list[Strategy]:
    """Prepare strategies with these settings, to try prompts, or without `scores` to state what they cost."""
    tools = Tools(denoiser, Verifier(denoiser, verify_plan(settings)), sample_plan(settings), scores)
    return [strategy.build(tools, dict(settings)) for strategy in strategies]


def collect_targets(group: GroupScores | None, prompts: Sequence[Prompt], detection: DetectedRun) -> dict[int, Target]:
    """Return each chosen prompt with the neurons to climb; none where no kind of site is climbed."""
    neurons = {**detection.flagged, **detection.controls}
    return {
        position: Target(prompts[position].text, (), ())
        if group is None
        else target_of(prompts[position].text, group, neurons[position])
        for position in (*detection.chosen.flagged, *detection.chosen.controls)
    }


def sample_plan(settings: AuditSettings | AblateSettings | CompareSettings) -> SamplePlan:
    """Return how prompts are sampled."""
    return SamplePlan(settings.seed, settings.n_samples, settings.sample_steps, settings.guidance_scale)


def verify_plan(settings: AuditSettings) -> VerifyPlan:
    """Return how attempts are verified."""
    return VerifyPlan(settings.seed, VERIFY_SAMPLES, VERIFY_STEPS, settings.latents_per_call)
