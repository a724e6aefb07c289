"""From settings to the plans of recovery; constants that no user sets are named here, as experiments settled them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.config import AuditSettings, DiscoverSettings
from audit.recover.ascend import AscendPlan, Target
from audit.recover.climb import ClimbPlan
from audit.recover.cyclic import CyclicPlan
from audit.recover.discover import SearchPlan
from audit.recover.known_image import MAX_STEPS, KnownImagePlan
from audit.recover.sample import SamplePlan
from audit.recover.verify import VerifyPlan
from audit.scoring import GroupScores, top_spikes
from audit.shards import Shards

VERIFY_SAMPLES, VERIFY_STEPS = 4, 20
N_FREE_WORDS, FAR_RATE, FAR_RADIUS = 3, 0.02, 1.5
N_CYCLES, CYCLE_STRENGTH, CYCLE_STEPS = 3, 0.6, 20
KNOWN_IMAGE_RATE, KNOWN_IMAGE_BATCH = 0.1, 8


def sample_plan(settings: AuditSettings) -> SamplePlan:
    return SamplePlan(settings.seed, settings.n_samples, settings.sample_steps, settings.guidance_scale)


def verify_plan(settings: AuditSettings) -> VerifyPlan:
    return VerifyPlan(settings.seed, VERIFY_SAMPLES, VERIFY_STEPS, settings.batch_size)


def ascend_plan(settings: AuditSettings) -> AscendPlan:
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
    return CyclicPlan(settings.seed, N_CYCLES, CYCLE_STRENGTH, CYCLE_STEPS, settings.batch_size)


def known_image_plan(settings: AuditSettings) -> KnownImagePlan:
    return KnownImagePlan(settings.seed, MAX_STEPS, KNOWN_IMAGE_RATE, KNOWN_IMAGE_BATCH)


def search_plan(settings: DiscoverSettings) -> SearchPlan:
    climb = ClimbPlan(
        n_steps=settings.steps,
        learning_rate=settings.learning_rate,
        radius=settings.radius,
        variable="token_embeddings",
        batch_size=settings.batch_size,
        checkpointing=settings.checkpointing,
    )
    return SearchPlan(
        run_seed=settings.seed,
        num_inference_steps=settings.num_inference_steps,
        n_reference=settings.n_reference,
        n_components=settings.n_components,
        n_starts=settings.n_starts,
        seen_share=settings.seen_share,
        n_highest=settings.n_highest,
        patience=settings.patience,
        climb=climb,
    )


def search_verify_plan(settings: DiscoverSettings) -> VerifyPlan:
    return VerifyPlan(settings.seed, settings.n_samples, settings.sample_steps, settings.batch_size)


def targets_of(
    group: GroupScores, candidates: Shards, captions: Sequence[str], positions: Sequence[int], n_neurons: int
) -> dict[int, Target]:
    """The neurons that spiked most for each of the candidates at `positions`: indices into the group's z-scores."""
    offsets = dict(
        zip(
            (column.name for column in group.columns),
            np.cumsum([0, *(column.site.n_neurons for column in group.columns)]).tolist(),
            strict=False,
        )
    )
    return {
        position: Target(
            captions[position],
            tuple(offsets[spike.column.name] + spike.neuron for spike in spikes),
            tuple(float(np.sign(spike.z)) or 1.0 for spike in spikes),
        )
        for position, spikes in top_spikes([group], candidates, positions, n_neurons).items()
    }
