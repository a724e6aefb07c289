"""The stage of recovery: build the ladder from a session and its detections, and take the flagged prompts up."""

from __future__ import annotations

from audit.detecting import Detected
from audit.detectors import PictureDetector
from audit.recover.ascend import Target
from audit.recover.ladder import Ladder
from audit.recover.neurons import NeuronScores
from audit.recover.rungs import RungStore
from audit.recover.verify import Verifier
from audit.recovering import Recovered, Recovery, choose, recover_all
from audit.recovery_settings import ascend_plan, cyclic_plan, known_image_plan, sample_plan, targets_of, verify_plan
from audit.rundir import RunDirectory
from audit.session import Session, training_images_of
from audit.shards import Shards
from reports.files import RECOVERY_DIRECTORY


def recover_flagged(
    session: Session, run: RunDirectory, detected: Detected, candidates: Shards, identity: str
) -> list[Recovered]:
    """Take flagged prompts and controls up the ladder.

    Args:
        identity: what ties the rungs on disk to their run.
    """
    inputs, settings, scored = session.inputs, session.inputs.settings, detected.scored
    denoiser, prompts = session.denoiser, session.inputs.candidates.prompts
    positions = choose(scored.spike_score, scored.flagged, settings.max_sampled, settings.seed)
    group = next((g for g in scored.groups if g.kind == settings.ascend_kind), None)
    targets: dict[int, Target] = {i: Target(prompts[i].text, (), ()) for part in positions for i in part}
    scores = None
    if group is not None and "ascend" in settings.strategies:
        texts = [prompt.text for prompt in prompts]
        n_neurons = settings.ascend_neurons
        targets = targets_of(group, candidates, texts, [*positions[0], *positions[1]], n_neurons)
        timestep = denoiser.first_timestep(settings.num_inference_steps)
        scores = NeuronScores(denoiser, group.columns, timestep, group.baselines[0])
    ladder = Ladder(
        denoiser,
        scores,
        Verifier(denoiser, verify_plan(settings)),
        RungStore(run.path / RECOVERY_DIRECTORY, identity, keep_pictures=settings.images),
        ascend_plan(settings),
        cyclic_plan(settings),
        known_image_plan(settings),
    )
    recovery = Recovery(
        denoiser=denoiser,
        ladder=ladder,
        detectors=[detector for detector in session.detectors if isinstance(detector, PictureDetector)],
        training=training_images_of(settings, denoiser) if positions[0] else None,
        plan=sample_plan(settings),
        strategies=settings.strategies,
        run=run.path,
        fingerprint=inputs.loaded.fingerprint,
        keep_images=settings.images,
        batch_size=settings.batch_size,
    )
    return recover_all(recovery, prompts, positions, targets)
