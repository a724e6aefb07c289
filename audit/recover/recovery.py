"""Take the flagged prompts and as many controls up the recovery ladder, keep the images, and judge them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.recover.climbing import Climbing, Recovery
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.memories import distinct_memories, number_findings_
from flashbulb.audit.recover.more_seeds import add_seeds_
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recurrence_verdicts import judge_recurrences_
from flashbulb.audit.recover.tasks import ClimbTask, Here, OnLadder, Performer, batches_of
from flashbulb.audit.run.progress import track
from flashbulb.audit.statistics.flags import Chosen


def recover_all(
    recovery: Recovery,
    prompts: Sequence[Prompt],
    chosen: Chosen,
    targets: Mapping[int, Target],
    performer: Performer | None = None,
) -> list[Recovered]:
    """Take flagged and control prompts up the ladder, each until an attempt confirms a memory.

    Attempts on disk that the same settings and model made are kept.

    Args:
        targets: the neurons to climb, by position.
        performer: performs the tasks; by default this process does.
    """
    performer = performer or Here(recovery)
    flagged, controls = ([Climbing(recovery, prompts[i], i, targets[i]) for i in part] for part in chosen)
    order = [*flagged, *controls]
    if recovery.seed_budget:
        add_seeds_(recovery, performer, flagged, controls)
    _climb_(recovery, performer, order)
    if recovery.keep_images:
        for climbing in order:
            climbing.remove_other_images()
    judge_recurrences_(flagged, controls)
    recovered = [_recovered(climbing, chosen.flagged) for climbing in order]
    number_findings_(result.memories for result in recovered if not result.is_control)
    return recovered


def _climb_(recovery: Recovery, performer: Performer, order: Sequence[Climbing]) -> None:
    by_position = {climbing.position: climbing for climbing in order}
    tasks = [
        ClimbTask(recovery.run, tuple(OnLadder(c.prompt, c.position, c.target, c.shown) for c in batch))
        for batch in batches_of(order, recovery.plan.n_samples, recovery.batch_size)
    ]
    with track("recovering", len(order), "prompts") as advance:
        for task, shown in performer.perform(tasks, advance):
            for row, found in zip(task.rows, shown, strict=True):
                by_position[row.position].shown = found


def _recovered(climbing: Climbing, flagged: Collection[int]) -> Recovered:
    is_control, memories = climbing.position not in flagged, distinct_memories(climbing.shown.memories)
    return Recovered(climbing.position, is_control, climbing.shown.attempts, climbing.shown.measured, memories)
