"""The distinct memories among the images of a prompt, each looked at by itself, and the findings of all prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, RgbImages, tile_distances
from flashbulb.audit.images.fixed_part import Mask, masked_distances
from flashbulb.audit.recover.outcome import VERDICTS, Outcome, copies_by_image
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE, VERBATIM

NearDuplicates: TypeAlias = Callable[[int], Sequence[int]]
"""Returns the near-duplicates of a training image, by index."""


@dataclass(slots=True)
class Memory:
    """A distinct image that a prompt gives.

    Args:
        strategy: what gave it.
        outcome: that of the attempt, with this image as its best, and with the training image nearest to it.
        hits, samples: of so many plain samples of the prompt, so many show it.
        image: [height, width, 3].
        image_path: path of that image, relative to the run; None where no image is kept.
        training_image: file of the nearest training image.
        finding: number of the distinct image among those of the run; None for controls.
    """

    strategy: str
    outcome: Outcome
    hits: int
    samples: int
    image: RgbImage
    image_path: str | None
    training_image: Path | None
    finding: int | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """The plain samples of a prompt, [seed, height, width, 3], and the training image nearest to each; None without."""

    images: RgbImages
    nearest: Sequence[Nearest | None]

    def count(self, outcome: Outcome, image: RgbImage, limit: float, near_duplicates: NearDuplicates) -> int:
        """Count the samples that show the image of `outcome`: copies of its training image, else those within `limit`.

        Of a training image with near-duplicates a sample may be nearest to any, and copies all of them.

        Args:
            image: that image, [height, width, 3].
            near_duplicates: of a training image, by index; asked where samples copy several.
        """
        if outcome.kind == VERBATIM and outcome.nearest is not None:
            copies, own = copies_by_image(self.nearest), outcome.nearest.index
            others = near_duplicates(own) if copies.keys() - {own} else ()
            return sum(len(copies.get(index, ())) for index in {own, *others})
        return int((tile_distances(self.images, image) <= limit).sum())

    def count_part(self, image: RgbImage, part: Mask, limit: float) -> int:
        """Count the samples that show the fixed part of a template: those within `limit` of `image` inside it."""
        return int((masked_distances(self.images, image, part) <= limit).sum())


def sampled_outcomes(sampled: Sampled, outcome: Outcome) -> list[Outcome]:
    """Return what plain samples show, one outcome for each distinct image: the most frequent first.

    Without copies of training images, agreement shows one image: that of `outcome`.
    """
    if outcome.verdict == "not_shown":
        return []
    if outcome.kind != VERBATIM:
        return [outcome]
    return [
        replace(outcome, best=copies[0], nearest=sampled.nearest[copies[0]])
        for copies in copies_by_image(sampled.nearest).values()
    ]


def agreement_limit(is_plain: bool) -> float:
    """Return within which distance a plain sample shows an image: that of a plain sample, or of an unguided one."""
    return AGREEMENT_DISTANCE if is_plain else REPLICATION_DISTANCE


def distinct_memories(memories: Iterable[Memory]) -> list[Memory]:
    """Return the distinct images of a prompt, strongest verdict first; of one image, the strongest and earliest."""
    kept: list[Memory] = []
    for memory in sorted(memories, key=lambda memory: -VERDICTS.index(memory.outcome.verdict)):
        if not any(_is_same(other, memory) for other in kept):
            kept.append(memory)
    return kept


def number_findings_(memories: Iterable[Sequence[Memory]]) -> None:
    """Number the distinct images among the memories of prompts, in their order; prompts can share an image.

    No two memories of one prompt get the same number.
    """
    heads: list[Memory] = []
    for shown in memories:
        taken: set[int] = set()
        for memory in shown:
            same = (i for i, head in enumerate(heads) if i not in taken and _is_same(head, memory))
            memory.finding = next(same, len(heads))
            taken.add(memory.finding)
            if memory.finding == len(heads):
                heads.append(memory)


def _is_same(memory: Memory, other: Memory) -> bool:
    copied = [m.outcome.nearest for m in (memory, other) if m.outcome.verdict == "confirmed" and m.outcome.nearest]
    if len(copied) == 2:
        return copied[0].index == copied[1].index
    return float(tile_distances(memory.image[None], other.image)[0]) <= REPLICATION_DISTANCE
