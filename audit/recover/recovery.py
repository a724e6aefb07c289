"""Take the flagged prompts and as many controls up the recovery ladder, keep the images, and judge them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from flashbulb.audit.detectors.views import SampledPrompt
from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.recover.attempts import Attempt
from flashbulb.audit.recover.climbing import Climbing, Recovery
from flashbulb.audit.recover.ladder import Strategy, Target, climb_ladder
from flashbulb.audit.recover.memories import distinct_memories, number_findings_
from flashbulb.audit.recover.more_seeds import add_seeds_, sample_
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recurrence_verdicts import judge_recurrences_
from flashbulb.audit.run.progress import track


def recover_all(
    recovery: Recovery,
    prompts: Sequence[Prompt],
    positions: tuple[Sequence[int], Sequence[int]],
    targets: Mapping[int, Target],
) -> list[Recovered]:
    """Take flagged and control prompts up the ladder, each until an attempt confirms a memory.

    Attempts on disk that the same settings and model made are kept.

    Args:
        positions: of the flagged prompts and of the controls.
        targets: the neurons to climb, by position.
    """
    flagged, controls = ([Climbing(recovery, prompts[i], i, targets[i]) for i in part] for part in positions)
    order = [*flagged, *controls]
    if recovery.seed_budget:
        add_seeds_(recovery, flagged, controls)
    per_call = max(1, recovery.batch_size // recovery.plan.n_samples)
    with track("recovering", len(order), "prompts") as advance:
        for first in range(0, len(order), per_call):
            chunk = order[first : first + per_call]
            sample_(recovery, chunk, recovery.plan.n_samples)
            on_ladder = [climbing.on_ladder for climbing in chunk]
            climb_ladder(recovery.strategies, on_ladder, recovery.store, partial(_confirms, chunk))
            for climbing in chunk:
                _finish_(climbing)
            advance(len(chunk))
    judge_recurrences_(flagged, controls)
    recovered = [_recovered(climbing, positions[0]) for climbing in order]
    number_findings_(result.memories for result in recovered if not result.is_control)
    return recovered


def _finish_(climbing: Climbing) -> None:
    """End a prompt's climb: score its samples by the image detectors, and keep them small."""
    first = climbing.sampled[: climbing.recovery.plan.n_samples]
    climbing.measured = _measure(climbing.recovery, climbing.prompt, first)
    climbing.reduce_samples()


def _recovered(climbing: Climbing, flagged: Collection[int]) -> Recovered:
    is_control, memories = climbing.position not in flagged, distinct_memories(climbing.memories)
    return Recovered(climbing.position, is_control, climbing.attempts, climbing.measured, memories)


def _confirms(chunk: Sequence[Climbing], index: int, strategy: Strategy, attempt: Attempt) -> bool:
    return chunk[index].add(attempt, strategy).verdict == "confirmed"


def _measure(recovery: Recovery, prompt: Prompt, images: RgbImages) -> dict[str, float]:
    if not recovery.detectors:
        return {}
    denoiser, plan = recovery.denoiser, recovery.plan
    sampled = SampledPrompt(
        denoiser=denoiser,
        images=images,
        encoded=denoiser.encode([prompt.text]),
        last_timestep=denoiser.last_timestep(plan.num_inference_steps),
        generator_seed=plan.run_seed,
    )
    return {detector.name: detector.measure(sampled) for detector in recovery.detectors}
