"""Closing looks: a second ascent, towards an image that a search found (Flashbulb's own method).

What a search samples is soft, and some of it blends several memories. A closing look pulls at the image (see `pull`),
and, unless that confirms it, pulls once more at what came. A memory stays what it is and becomes sharp; a blend becomes
a memory, or another image each time. An ascent can draw images that are not memorized, so what came must also be
familiar (denoised with the empty prompt much better than its mirror image), and the model must take it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from flashbulb.audit.images.distances import RgbImage, RgbImages, medoid, tile_distances
from flashbulb.audit.images.self_similarity import shift_distance
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.familiarity import RankPlan, familiarity
from flashbulb.audit.pull.pulling import PullPlan, ascend_towards, sample_pulled
from flashbulb.audit.recover.signs import MIN_SHIFT_DISTANCE, Regression, log_distance
from flashbulb.audit.recover.verify import Verifier
from flashbulb.reports.tables.limits import CONFIRMED_AT

WEIGHTS = Regression(
    -13.267,
    {
        "familiarity": 0.761,
        "moved": -0.595,
        "spread": -0.696,
        "denoising_error": -1.533,
        "autoencoding_error": -1.140,
    },
)
"""Probability that what a pull at a found image ended at is a memory; fitted on `gazette` (docs/discovery-tried.md)."""

LEAST_PROMISE = 0.3
"""Confidence of a first pull below which no second one follows; chosen on `gazette`, as all limits here."""


@dataclass(frozen=True, slots=True)
class ClosingPlan:
    """How closing looks are taken.

    Args:
        pull: one pull.
        n_pulls: pulls at one image, at most.
        rank: how the familiarity of what came is measured.
    """

    pull: PullPlan
    n_pulls: int
    rank: RankPlan

    @property
    def identity(self) -> dict[str, Any]:
        """What a look depends on, as JSON values: not how many images are computed at once."""
        return asdict(replace(self, pull=replace(self.pull, batch_size=1, checkpointing=False)))


@dataclass(frozen=True, slots=True)
class Closed:
    """Where a closing look ended.

    Args:
        images: samples of the surest pull, [sample, height, width, 3].
        confidence: probability that they show a memory; unless a pull confirms it, the mean of all pulls.
        evaluations: UE spent on all pulls.
        together: keys of all images that were looked at in one call, on which the last bits depend.
    """

    images: RgbImages
    confidence: float
    evaluations: int
    together: Sequence[str] = ()

    @property
    def image(self) -> RgbImage:
        """The sample that represents it."""
        return np.asarray(self.images[medoid(self.images)])


class ClosingLooks:
    """Look closely at images of one model.

    Args:
        verifier: measures how the model takes an image back; its plan of samples is not used.
    """

    def __init__(self, denoiser: Denoiser, verifier: Verifier, plan: ClosingPlan) -> None:
        self._denoiser, self._verifier, self.plan = denoiser, verifier, plan

    @property
    def most_evaluations(self) -> int:
        """UE of one image, at most."""
        return self.plan.n_pulls * self._cost_of_pull

    @property
    def _cost_of_pull(self) -> int:
        signs = self.plan.rank.evaluations + self._verifier.cost_of_signs
        return self.plan.pull.evaluations(self._denoiser) + signs

    def look(self, images: RgbImages, keys: Sequence[str]) -> list[Closed]:
        """Look closely at each image [image, height, width, 3].

        Args:
            keys: seeds of each image's noise.
        """
        best = self._pull(images, [f"pull 0\n{key}" for key in keys])
        sums, aims = [closed.confidence for closed in best], [closed.image for closed in best]
        for number in range(1, self.plan.n_pulls):
            unsure = [i for i, closed in enumerate(best) if LEAST_PROMISE <= closed.confidence < CONFIRMED_AT]
            if not unsure:
                break
            pulled = self._pull(np.stack([aims[i] for i in unsure]), [f"pull {number}\n{keys[i]}" for i in unsure])
            for i, closed in zip(unsure, pulled, strict=True):
                surest = max(best[i], closed, key=lambda seen: seen.confidence)
                best[i] = replace(surest, evaluations=best[i].evaluations + closed.evaluations)
                sums[i], aims[i] = sums[i] + closed.confidence, closed.image
        n_pulls = [closed.evaluations // self._cost_of_pull for closed in best]
        means = [
            closed.confidence if closed.confidence >= CONFIRMED_AT else total / n
            for closed, total, n in zip(best, sums, n_pulls, strict=True)
        ]
        return [replace(closed, confidence=mean, together=list(keys)) for closed, mean in zip(best, means, strict=True)]

    def _pull(self, aims: RgbImages, keys: Sequence[str]) -> list[Closed]:
        size = self.plan.pull.batch_size
        batches = [slice(first, first + size) for first in range(0, len(aims), size)]
        return [closed for batch in batches for closed in self._pull_batch(aims[batch], keys[batch])]

    def _pull_batch(self, aims: RgbImages, keys: Sequence[str]) -> list[Closed]:
        found = ascend_towards(self._denoiser, aims, keys, self.plan.pull)
        samples = sample_pulled(self._denoiser, found, keys, self.plan.pull)
        centres = np.stack([shown[medoid(shown)] for shown in samples])
        denoised, autoencoded = self._verifier.errors(found, keys, centres)
        ranks = familiarity(self._denoiser, centres, self.plan.rank).tolist()
        return [
            Closed(shown, confidence_of(signs_of(shown, aim, *errors), shown), self._cost_of_pull)
            for shown, aim, *errors in zip(samples, aims, ranks, denoised, autoencoded, strict=True)
        ]


def signs_of(
    samples: RgbImages, aim: RgbImage, rank: float, denoising_error: float, autoencoding_error: float
) -> dict[str, float]:
    """Measure the signs of samples [sample, height, width, 3] of a pull.

    Args:
        aim: the image that was pulled at.
        rank: familiarity of their medoid; its errors are those in `Signs`.
    """
    centre = samples[medoid(samples)]
    return {
        "familiarity": rank,
        "moved": log_distance(float(np.median(tile_distances(samples, aim)))),
        "spread": log_distance(float(tile_distances(samples, centre).mean())),
        "denoising_error": denoising_error,
        "autoencoding_error": autoencoding_error,
    }


def confidence_of(signs: dict[str, float], samples: RgbImages) -> float:
    """Return the probability that samples of a pull show a memory, in [0, 1]; 0 for a plain colour or a pattern."""
    if shift_distance(samples[medoid(samples)]) < MIN_SHIFT_DISTANCE:
        return 0.0
    return WEIGHTS.probability(signs)
