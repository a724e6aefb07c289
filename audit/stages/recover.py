"""The recovery stage: take flagged prompts and controls up the ladder, judge what came back, and finish the audit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flashbulb.audit.ascent.climb import ClimbPlan
from flashbulb.audit.ascent.neurons import NeuronScores
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.recover.attempts import AttemptStore
from flashbulb.audit.recover.ladder import Strategy, Target
from flashbulb.audit.recover.outcome import severities
from flashbulb.audit.recover.recovery import Recovery, recover_all
from flashbulb.audit.recover.samples import SamplePlan
from flashbulb.audit.recover.strategies.ascend import Ascend, AscendPlan
from flashbulb.audit.recover.strategies.cyclic import Cyclic, CyclicPlan
from flashbulb.audit.recover.strategies.known_image import MAX_STEPS, KnownImage, KnownImagePlan
from flashbulb.audit.recover.strategies.sample import Sample
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.progress import Stopwatch
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.finish import write_results
from flashbulb.audit.stages.identity import attempt_fingerprints
from flashbulb.audit.stages.session import Session, load_training_images
from flashbulb.audit.stages.state import DetectedRun, RecordedRun, Results
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.audit.statistics.spikes import PromptNeurons
from flashbulb.reports.tables.files import RECOVERY_DIRECTORY
from flashbulb.reports.tables.verdict import Verdict

VERIFY_SAMPLES, VERIFY_STEPS = 4, 20
N_FREE_WORDS, FAR_RATE, FAR_RADIUS = 3, 0.02, 1.5
N_CYCLES, CYCLE_STRENGTH, CYCLE_STEPS = 3, 0.6, 20
KNOWN_IMAGE_RATE, KNOWN_IMAGE_BATCH = 0.1, 8
"""Constants that no user sets: experiments on the planted models settled them (docs/recovery.md)."""


def recover_images(
    session: Session, recorded: RecordedRun, detection: DetectedRun, run: RunDirectory, watch: Stopwatch
) -> Verdict:
    """Take what is flagged up the ladder, write everything a finished audit has, and return the verdict."""
    settings, scored = recorded.inputs.settings, detection.detected.scored
    prompts = recorded.inputs.candidates.prompts
    with watch.stage("recover"):
        climbed = [group for group in scored.groups if group.kind == settings.ascend_kind]
        group = climbed[0] if climbed and Ascend.name in settings.strategies else None
        targets = _targets(group, prompts, detection)
        recovery = _recovery(session, recorded, detection, run, group, has_flagged=bool(detection.chosen.flagged))
        recovered = recover_all(recovery, prompts, detection.chosen, targets)
    outcomes = {prompt.position: prompt.best.outcome for prompt in recovered}
    severity = severities(scored.flagged.tolist(), scored.q_value.tolist(), outcomes)
    detectors = session.image_detectors
    measuring = sum(detector.evaluations_per_image for detector in detectors) * settings.n_samples
    names = tuple(detector.name for detector in detectors)
    results = Results(recorded, detection, tuple(recovered), measuring * len(recovered), names, severity)
    return write_results(results, run, {**recorded.timings, **watch.seconds})


def _recovery(
    session: Session,
    recorded: RecordedRun,
    detection: DetectedRun,
    run: RunDirectory,
    group: GroupScores | None,
    *,
    has_flagged: bool,
) -> Recovery:
    """Gather what every prompt's recovery shares; training images are read only if a prompt is flagged."""
    inputs, settings, denoiser = recorded.inputs, recorded.inputs.settings, session.denoiser
    fingerprints = attempt_fingerprints(inputs, detection.detected.pooled)
    return Recovery(
        denoiser=denoiser,
        strategies=_strategies(session, settings, group),
        store=AttemptStore(run.path / RECOVERY_DIRECTORY, fingerprints, keep_images=settings.images),
        detectors=session.image_detectors,
        training=load_training_images(settings, denoiser) if has_flagged else None,
        plan=sample_plan(settings),
        run=run.path,
        fingerprint=inputs.model.fingerprint,
        keep_images=settings.images,
        batch_size=settings.batch_size,
    )


def _strategies(session: Session, settings: AuditSettings, group: GroupScores | None) -> list[Strategy]:
    """Build the chosen strategies, from the cheapest to the dearest; ascents need a recorded kind of site to climb."""
    denoiser = session.denoiser
    verifier = Verifier(denoiser, verify_plan(settings))
    every: list[Strategy] = [Sample(denoiser, verifier, sample_plan(settings))]
    if group is not None:
        timestep = denoiser.first_timestep(settings.num_inference_steps)
        scores = NeuronScores(denoiser, group.columns, timestep, group.baselines[0])
        every.append(Ascend(denoiser, scores, verifier, ascend_plan(settings)))
    every.append(Cyclic(denoiser, verifier, cyclic_plan(settings)))
    every.append(KnownImage(denoiser, verifier, known_image_plan(settings)))
    return [strategy for strategy in every if strategy.name in settings.strategies]


def _targets(group: GroupScores | None, prompts: Sequence[Prompt], detection: DetectedRun) -> dict[int, Target]:
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


def ascend_plan(settings: AuditSettings) -> AscendPlan:
    """Return how prompts are climbed."""
    climb = ClimbPlan(
        n_steps=settings.ascend_steps,
        learning_rate=settings.ascend_rate,
        radius=settings.ascend_radius,
        variable=settings.ascend_variable,
        batch_size=settings.batch_size,
        checkpointing=settings.checkpointing,
    )
    return AscendPlan(settings.seed, settings.ascend_restarts, N_FREE_WORDS, (FAR_RATE, FAR_RADIUS), climb)


def cyclic_plan(settings: AuditSettings) -> CyclicPlan:
    """Return how samples are noised and denoised again."""
    return CyclicPlan(settings.seed, N_CYCLES, CYCLE_STRENGTH, CYCLE_STEPS, settings.batch_size)


def known_image_plan(settings: AuditSettings) -> KnownImagePlan:
    """Return how a known training image is pulled at."""
    return KnownImagePlan(settings.seed, MAX_STEPS, KNOWN_IMAGE_RATE, KNOWN_IMAGE_BATCH)


def target_of(prompt: str, group: GroupScores, neurons: PromptNeurons) -> Target:
    """Return the prompt and the neurons to climb: indices into the group's z-scores, and their signs."""
    indices = group.columns.indices_of((spike.column, spike.neuron) for spike in neurons.climbed)
    return Target(prompt, tuple(indices), tuple(float(np.sign(spike.z)) or 1.0 for spike in neurons.climbed))
