"""Record which images of a run come back, and give the verdict likely to their prompts where that is evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, tile_distances
from flashbulb.audit.images.png import read_image
from flashbulb.audit.recover.climbing import Climbing
from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.outcome import JudgedAttempt
from flashbulb.audit.recover.recurrence import Recurrence, find_recurrences
from flashbulb.audit.recover.samples import image_name
from flashbulb.reports.bounds.recurrence import Recurring


def judge_recurrences_(flagged: Sequence[Climbing], controls: Sequence[Climbing]) -> None:
    """Judge what comes back among the plain samples of prompts at the end of the ladder.

    Of every prompt as many samples are compared, so that those with more seeds have no better chance.
    """
    among_flagged, among_controls = _recurrences(flagged), _recurrences(controls)
    by_seeds = _recurring([_n_seeds(found) for found in among_flagged], [_n_seeds(found) for found in among_controls])
    by_prompts = _recurring(
        [_n_prompts(found) for found in among_flagged], [_n_prompts(found) for found in among_controls]
    )
    for climbing, found in zip([*flagged, *controls], [*among_flagged, *among_controls], strict=True):
        counts = [
            recurrence
            for recurrence in found
            if (by_seeds.is_evidence and recurrence.n_seeds) or (by_prompts.is_evidence and recurrence.n_prompts)
        ]
        _record_(climbing, _n_seeds(found), _n_prompts(found), counts)


def _recurrences(prompts: Sequence[Climbing]) -> list[list[Recurrence]]:
    return find_recurrences(
        [climbing.prompt.text for climbing in prompts],
        [climbing.shown.reduced[: climbing.recovery.plan.n_samples] for climbing in prompts],
    )


def _n_seeds(found: Sequence[Recurrence]) -> int:
    return max((recurrence.n_seeds for recurrence in found), default=0)


def _n_prompts(found: Sequence[Recurrence]) -> int:
    return max((recurrence.n_prompts for recurrence in found), default=0)


def _recurring(flagged: Sequence[int], controls: Sequence[int]) -> Recurring:
    return Recurring(sum(map(bool, flagged)), len(flagged), sum(map(bool, controls)), len(controls))


def _record_(climbing: Climbing, n_seeds: int, n_prompts: int, evidence: Sequence[Recurrence]) -> None:
    """Record how often images come back with the attempt on plain samples.

    If it showed nothing, what `evidence` holds becomes its memories.
    """
    plain = {strategy.name for strategy in climbing.recovery.strategies if strategy.is_plain}
    for index, attempt in enumerate(climbing.shown.attempts):
        if attempt.strategy not in plain:
            continue
        counted = replace(attempt, alike_seeds=n_seeds, alike_prompts=n_prompts)
        if evidence and attempt.outcome.verdict == "not_shown":
            memories = [_memory(climbing, attempt, recurrence.sample) for recurrence in evidence]
            climbing.shown.memories += memories
            first = memories[0]
            counted = replace(counted, outcome=first.outcome, image=first.image, image_path=first.image_path)
        climbing.shown.attempts[index] = counted


def _memory(climbing: Climbing, attempt: JudgedAttempt, sample: int) -> Memory:
    """Return the image of a plain sample as a likely memory."""
    nearest = climbing.shown.nearest[sample]
    return Memory(
        strategy=attempt.strategy,
        outcome=replace(attempt.outcome, best=sample, nearest=nearest, verdict="likely", comes_back=True),
        hits=int((tile_distances(climbing.shown.reduced, climbing.shown.reduced[sample]) <= AGREEMENT_DISTANCE).sum()),
        samples=len(climbing.shown.reduced),
        image=_image(climbing, sample),
        image_path=climbing.relative(climbing.sample_path(sample)),
        training_image=climbing.training_file(nearest),
    )


def _image(climbing: Climbing, sample: int) -> RgbImage:
    if len(climbing.shown.sampled):
        image: RgbImage = climbing.shown.sampled[sample]
        return image
    return read_image(climbing.folder / image_name(sample)).pixels
