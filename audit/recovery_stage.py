"""The stage of recovery: take the flagged prompts and controls up the ladder, judge what came back, and finish."""

from __future__ import annotations

from audit.findings import severities
from audit.identity import rung_fingerprints
from audit.output import write_results
from audit.recover.ascend import Target
from audit.recover.ladder import Ladder
from audit.recover.neurons import NeuronScores
from audit.recover.rungs import RungStore
from audit.recover.verify import Verifier
from audit.recovering import Recovered, Recovery, choose, recover_all
from audit.recovery_settings import ascend_plan, cyclic_plan, known_image_plan, sample_plan, targets_of, verify_plan
from audit.results import DetectedRun, RecordedRun, Results
from audit.rundir import RunDirectory
from audit.session import Session, training_images_of
from audit.stopwatch import Stopwatch
from reports.decide import Verdict
from reports.files import RECOVERY_DIRECTORY


def recover_pictures(
    session: Session, recorded: RecordedRun, found: DetectedRun, run: RunDirectory, watch: Stopwatch
) -> Verdict:
    """Take what is flagged up the ladder, write all that a finished audit has, and give the verdict."""
    with watch.stage("recover"):
        recovered = _recover(session, recorded, found, run)
    scored, settings = found.detected.scored, recorded.inputs.settings
    outcomes = {one.position: one.best.outcome for one in recovered}
    of_prompts = severities(scored.flagged.tolist(), scored.q_value.tolist(), outcomes)
    pictured = session.picture_detectors
    measuring = sum(detector.evaluations_per_picture for detector in pictured) * settings.n_samples
    names = tuple(detector.name for detector in pictured)
    results = Results(recorded, found, tuple(recovered), measuring * len(recovered), names, of_prompts)
    return write_results(results, run, {**recorded.timings, **watch.seconds})


def _recover(session: Session, recorded: RecordedRun, found: DetectedRun, run: RunDirectory) -> list[Recovered]:
    inputs, settings, scored = recorded.inputs, recorded.inputs.settings, found.detected.scored
    denoiser, prompts = session.denoiser, inputs.candidates.prompts
    positions = choose(scored.spike_score, scored.flagged, settings.max_sampled, settings.seed)
    group = next((g for g in scored.groups if g.kind == settings.ascend_kind), None)
    targets: dict[int, Target] = {i: Target(prompts[i].text, (), ()) for part in positions for i in part}
    scores = None
    if group is not None and "ascend" in settings.strategies:
        texts = [prompt.text for prompt in prompts]
        chosen, candidates = [*positions[0], *positions[1]], recorded.shards("candidates")
        targets = targets_of(group, candidates, texts, chosen, settings.ascend_neurons)
        timestep = denoiser.first_timestep(settings.num_inference_steps)
        scores = NeuronScores(denoiser, group.columns, timestep, group.baselines[0])
    fingerprints = rung_fingerprints(inputs, found.detected.pooled)
    ladder = Ladder(
        denoiser,
        scores,
        Verifier(denoiser, verify_plan(settings)),
        RungStore(run.path / RECOVERY_DIRECTORY, fingerprints, keep_pictures=settings.images),
        ascend_plan(settings),
        cyclic_plan(settings),
        known_image_plan(settings),
    )
    recovery = Recovery(
        denoiser=denoiser,
        ladder=ladder,
        detectors=session.picture_detectors,
        training=training_images_of(settings, denoiser) if positions[0] else None,
        plan=sample_plan(settings),
        strategies=settings.strategies,
        run=run.path,
        fingerprint=inputs.model.fingerprint,
        keep_images=settings.images,
        batch_size=settings.batch_size,
    )
    return recover_all(recovery, prompts, positions, targets)
