"""Sample canaries and take them up the recovery ladder: which of them gave their own image?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flashbulb.audit.canaries.manifest import Manifest
from flashbulb.audit.canaries.plan import Canary
from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.ladder import Target
from flashbulb.audit.recover.recovery import recover_all
from flashbulb.audit.recover.tasks import Performer, samples_of
from flashbulb.audit.statistics.flags import Chosen
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.reports.tables.files import CANARIES_FOLDER
from flashbulb.reports.tables.limits import VERBATIM


class Planted(NamedTuple):
    """A manifest and the images of its canaries, at the model's size."""

    manifest: Manifest
    images: TrainingImages

    def image(self, canary: Canary) -> RgbImage:
        """Return the image of a canary: [height, width, 3]."""
        return self.images.image(self._index(canary))

    def is_among(self, canary: Canary, images: RgbImages) -> bool:
        """Return whether one of these images copies that of the canary."""
        found = self.images.nearest(images)
        return any(nearest.kind == VERBATIM and nearest.index == self._index(canary) for nearest in found)

    def _index(self, canary: Canary) -> int:
        return list(self.images.paths).index(self.manifest.folder / canary.image)


class Tried(NamedTuple):
    """What became of a canary; None for what was not tried.

    Args:
        replicated: its own image is among its plain samples.
        verdict: the best of its recovery.
        recovered: the verdict shows an image, and its own image came back.
        image_path: the image of the best attempt, relative to the run.
    """

    replicated: bool | None
    verdict: str | None
    recovered: bool | None
    image_path: str | None


UNTRIED = Tried(None, None, None, None)


class Tries(NamedTuple):
    """What became of each canary, and the UE of all."""

    tried: list[Tried]
    evaluations: int


def try_canaries(
    recovery: Recovery,
    performer: Performer,
    planted: Planted,
    prompts: Sequence[Prompt],
    targets: Mapping[int, Target],
    inside: Sequence[bool],
) -> Tries:
    """Sample the canaries that are in, and take those that are flagged up the ladder, whether they are in or not.

    Args:
        targets: the flagged canaries, by position.
        inside: which canaries are in the training set.
    """
    canaries = planted.manifest.canaries
    sampled = [i for i in range(len(canaries)) if inside[i] or i in targets]
    replicated = _replicated(recovery, performer, planted, prompts, sampled)
    flagged = Chosen(list(targets), [])
    recovered = {r.position: r for r in recover_all(recovery, prompts, flagged, targets, performer)}
    tried = [UNTRIED] * len(canaries)
    for i in sampled:
        tried[i] = Tried(replicated[i], None, None, None)
        if i in recovered:
            best, attempts = recovered[i].best, recovered[i].attempts
            own = replicated[i] or planted.is_among(canaries[i], np.stack([attempt.image for attempt in attempts]))
            path = None if best.image_path is None else f"{CANARIES_FOLDER}/{best.image_path}"
            verdict = best.outcome.verdict
            tried[i] = Tried(replicated[i], verdict, own and verdict != "not_shown", path)
    per_prompt = recovery.plan.evaluations(recovery.denoiser)
    n_sampled = len(sampled) - (len(recovered) if recovery.keep_images else 0)  # the ladder's samples are these
    climbed = sum(attempt.evaluations for result in recovered.values() for attempt in result.attempts)
    return Tries(tried, n_sampled * per_prompt + climbed)


def _replicated(
    recovery: Recovery, performer: Performer, planted: Planted, prompts: Sequence[Prompt], positions: Sequence[int]
) -> dict[int, bool]:
    """Return which canaries have their own image among their plain samples; the ladder finds the samples on disk."""
    places, chosen = {prompts[i].prompt_id: i for i in positions}, [prompts[i] for i in positions]
    n, found = recovery.plan.n_samples, dict[int, bool]()
    for prompt, sampled in samples_of(recovery, performer, chosen, n, "sampling canaries", "canaries"):
        place = places[prompt.prompt_id]
        found[place] = planted.is_among(planted.manifest.canaries[place], sampled.images)
    return found
