"""The recovery stage: take flagged prompts and controls up the ladder, judge what came back, and finish the audit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

from flashbulb.audit.ascent.neurons import NeuronScores
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.recover.attempts import AttemptStore
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.ladder import OpenBase, Strategy, Target, Tools
from flashbulb.audit.recover.outcome import severities
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies import find_strategies
from flashbulb.audit.recover.targets import target_of
from flashbulb.audit.recover.verify import VERIFY_SAMPLES, VERIFY_STEPS, Verifier, VerifyPlan
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.run.together import undo_cut_off
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.canaries import audit_canaries
from flashbulb.audit.stages.kept.identity import attempt_fingerprints
from flashbulb.audit.stages.results.finish import write_results
from flashbulb.audit.stages.results.propensity import measure_propensity
from flashbulb.audit.stages.results.state import DetectedRun, RecordedRun, Results
from flashbulb.audit.stages.session import Session, callable_without_loras, load_training_images, reload_base
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.reports.tables.files import RECOVERY_DIRECTORY
from flashbulb.reports.tables.verdict import Verdict


def recover_images(
    session: Session, recorded: RecordedRun, detection: DetectedRun, run: RunDirectory, watch: Stopwatch
) -> Verdict:
    """Take what is flagged up the ladder, write everything a finished audit has, and return the verdict."""
    settings, scored = recorded.inputs.settings, detection.detected.scored
    prompts = recorded.inputs.candidates.prompts
    undo_cut_off(run.path)
    with watch.stage("recover"):
        climbed = [group for group in scored.groups if group.kind == settings.ascend_kind]
        climbs = any(strategy.needs_neurons for strategy in chosen_strategies(settings))
        group = climbed[0] if climbed and climbs else None
        targets = collect_targets(group, prompts, detection)
        recovery = prepare_recovery(
            session, recorded, detection, run, group, samples=bool(detection.chosen.flagged or settings.n_ordinary)
        )
        recovered = recover_all(recovery, prompts, detection.chosen, targets)
    canaries = None
    if recorded.inputs.canaries is not None:
        with watch.stage("canaries"):
            canaries = audit_canaries(session, recorded, detection, recovery, group)
    ordinary = None
    if settings.n_ordinary:
        with watch.stage("propensity"):
            ordinary = measure_propensity(recovery, recorded.inputs, scored, recovered)
    outcomes = {prompt.position: prompt.best.outcome for prompt in recovered}
    severity = severities(scored.flagged.tolist(), scored.q_value.tolist(), outcomes)
    detectors = session.image_detectors
    measuring = sum(detector.evaluations_per_image for detector in detectors) * settings.n_samples
    names = tuple(detector.name for detector in detectors)
    measured = measuring * len(recovered)
    results = Results(
        recorded, detection, tuple(recovered), measured, names, severity, recovery.training, ordinary, canaries
    )
    return write_results(results, run, {**recorded.timings, **watch.seconds})


def prepare_recovery(
    session: Session,
    recorded: RecordedRun,
    detection: DetectedRun,
    run: RunDirectory,
    group: GroupScores | None,
    *,
    samples: bool,
) -> Recovery:
    """Gather what every prompt's recovery shares.

    Args:
        samples: a prompt is sampled; otherwise training images are not read.
    """
    inputs, settings, denoiser = recorded.inputs, recorded.inputs.settings, session.denoiser
    fingerprints = attempt_fingerprints(inputs, detection.detected.pooled)
    chosen, scores = chosen_strategies(settings), None
    if group is None:
        chosen = [strategy for strategy in chosen if not strategy.needs_neurons]
    else:
        timestep = denoiser.first_timestep(settings.num_inference_steps)
        scores = NeuronScores(denoiser, group.columns, timestep, group.baselines[0])
    return Recovery(
        denoiser=denoiser,
        strategies=build_strategies(chosen, settings, denoiser, scores, _base_opener(session)),
        store=AttemptStore(run.path / RECOVERY_DIRECTORY, fingerprints, keep_images=settings.images),
        detectors=session.image_detectors,
        training=load_training_images(settings, denoiser) if samples else None,
        plan=sample_plan(settings),
        run=run.path,
        fingerprint=inputs.model.fingerprint,
        keep_images=settings.images,
        batch_size=settings.batch_size,
        seed_budget=settings.seed_budget,
    )


def chosen_strategies(settings: AuditSettings) -> list[type[Strategy]]:
    """Return the chosen strategies, in the order of the ladder."""
    return [strategy for name, strategy in find_strategies().items() if name in settings.strategies]


def build_strategies(
    strategies: Sequence[type[Strategy]],
    settings: AuditSettings,
    denoiser: Denoiser,
    scores: NeuronScores | None,
    open_base: OpenBase | None = None,
) -> list[Strategy]:
    """Prepare strategies with these settings, to try prompts, or without `scores` and base to state what they cost."""
    verifier = Verifier(denoiser, verify_plan(settings))
    tools = Tools(denoiser, verifier, sample_plan(settings), scores, open_base)
    return [strategy.build(tools, dict(settings)) for strategy in strategies]


def _base_opener(session: Session) -> OpenBase | None:
    """Return what opens the base's denoiser: this model without its LoRAs, or another that is loaded once."""
    if session.inputs.base is None:
        return None
    if session.loras is not None:
        return partial(callable_without_loras, session, session.loras)
    load = cache(lambda: reload_base(session.inputs).denoiser)
    return lambda: load().called()


def collect_targets(group: GroupScores | None, prompts: Sequence[Prompt], detection: DetectedRun) -> dict[int, Target]:
    """Return each chosen prompt with the neurons to climb; none where no kind of site is climbed."""
    neurons = {**detection.flagged, **detection.controls}
    return {
        position: Target(prompts[position].text, (), ())
        if group is None
        else target_of(prompts[position].text, group, neurons[position])
        for position in (*detection.chosen.flagged, *detection.chosen.controls)
    }


def sample_plan(settings: AuditSettings) -> SamplePlan:
    """Return how prompts are sampled."""
    return SamplePlan(settings.seed, settings.n_samples, settings.sample_steps, settings.guidance_scale)


def verify_plan(settings: AuditSettings) -> VerifyPlan:
    """Return how attempts are verified."""
    return VerifyPlan(settings.seed, VERIFY_SAMPLES, VERIFY_STEPS, settings.batch_size)
