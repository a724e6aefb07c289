"""Take the flagged prompts and as many controls up the recovery ladder, keep the images, and judge them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.climbing import Climbing, Recovery
from flashbulb.audit.recover.ladder import Reach, Strategy, Target
from flashbulb.audit.recover.memories import distinct_memories, number_findings_
from flashbulb.audit.recover.more_seeds import add_seeds_
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.audit.recover.recurrence_verdicts import judge_recurrences_
from flashbulb.audit.recover.tasks import ClimbTask, Here, OnLadder, Performer, batches_of
from flashbulb.audit.run.progress import Advance, track
from flashbulb.audit.statistics.flags import Chosen


def recover_all(
    recovery: Recovery,
    prompts: Sequence[Prompt],
    chosen: Chosen,
    targets: Mapping[int, Target],
    performer: Performer | None = None,
) -> list[Recovered]:
    """Take flagged and control prompts up the ladder, each until an attempt confirms a memory.

    Controls tell how often an image is no finding. So they climb as far as an attempt has shown an image of a flagged
    prompt, and give plain samples in any case. Attempts on disk that the same settings and model made are kept.

    Args:
        targets: the neurons to climb, by position.
        performer: performs the tasks; by default this process does.
    """
    performer = performer or Here(recovery)
    flagged, controls = ([Climbing(recovery, prompts[i], i, targets[i]) for i in part] for part in chosen)
    order = [*flagged, *controls]
    if recovery.seed_budget:
        add_seeds_(recovery, performer, flagged, controls)
    with track("recovering", len(order), "prompts") as advance:
        _climb_(recovery, performer, flagged, None, advance)
        _climb_(recovery, performer, controls, _furthest(recovery.strategies, flagged), advance)
    if recovery.keep_images:
        for climbing in order:
            climbing.remove_other_images()
    judge_recurrences_(flagged, controls)
    recovered = [_recovered(climbing, chosen.flagged) for climbing in order]
    number_findings_(result.memories for result in recovered if not result.is_control)
    return recovered


def _climb_(
    recovery: Recovery, performer: Performer, prompts: Sequence[Climbing], reach: Reach | None, advance: Advance
) -> None:
    by_position = {climbing.position: climbing for climbing in prompts}
    tasks = [
        ClimbTask(recovery.run, tuple(OnLadder(c.prompt, c.position, c.target, c.shown) for c in batch), reach)
        for batch in batches_of(prompts, recovery.plan.n_samples, recovery.batch_size)
    ]
    for task, shown in performer.perform(tasks, advance):
        for row, found in zip(task.rows, shown, strict=True):
            by_position[row.position].shown = found


def _furthest(strategies: Sequence[Strategy], prompts: Sequence[Climbing]) -> Reach:
    """Return the last attempt that has shown an image of any of the prompts; the first attempt if none has."""
    attempts = (attempt for climbing in prompts for attempt in climbing.shown.attempts)
    shown = {Reach(attempt.strategy, attempt.restart) for attempt in attempts if attempt.outcome.verdict != "not_shown"}
    ladder = [Reach(strategy.name, restart) for strategy in strategies for restart in range(strategy.n_restarts)]
    return next((reach for reach in reversed(ladder) if reach in shown), ladder[0])


def _recovered(climbing: Climbing, flagged: Collection[int]) -> Recovered:
    is_control, memories = climbing.position not in flagged, distinct_memories(climbing.shown.memories)
    return Recovered(climbing.position, is_control, climbing.shown.attempts, climbing.shown.measured, memories)
