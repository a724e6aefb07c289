"""Counts of what prompts show: distinct training images, how many images are right, and what controls show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flashbulb.audit.images.distances import RgbImage
from flashbulb.audit.recover.recovered import Recovered
from flashbulb.reports.bounds.rates import exact_interval
from tests.bench.memories.training_images import TrainedOn


@dataclass(frozen=True, slots=True)
class Shown:
    """An image that a prompt shows, with its verdict: confirmed or likely."""

    position: int
    is_control: bool
    verdict: str
    image: RgbImage


@dataclass(frozen=True, slots=True)
class Counts:
    """What prompts show, confirmed or with any verdict.

    Args:
        distinct: names of the training images that flagged prompts show.
        right, wrong: images of flagged prompts that show a training image, and that show none.
        true_controls, false_controls: controls that show training images only, and that show another image.
    """

    distinct: frozenset[str]
    right: int
    wrong: int
    true_controls: int
    false_controls: int

    @property
    def precision(self) -> str:
        """Share of the images of flagged prompts that are training images."""
        return rate(self.right, self.right + self.wrong)


def every_finding(recovered: Sequence[Recovered]) -> Iterator[Shown]:
    """Yield all images that prompts show."""
    for prompt in recovered:
        for memory in prompt.memories:
            yield Shown(prompt.position, prompt.is_control, memory.outcome.verdict, memory.image)


def count(shown: Sequence[Shown], trained_on: TrainedOn, verdicts: Sequence[str]) -> Counts:
    """Count the images of these verdicts."""
    named = [(recovered, trained_on.shown(recovered.image)) for recovered in shown if recovered.verdict in verdicts]
    flagged = [name for recovered, name in named if not recovered.is_control]
    controls = {recovered.position for recovered, _ in named if recovered.is_control}
    false = {recovered.position for recovered, name in named if recovered.is_control and name is None}
    right = [name for name in flagged if name is not None]
    return Counts(frozenset(right), len(right), len(flagged) - len(right), len(controls - false), len(false))


def rate(n: int, of: int) -> str:
    """Format a rate with its exact 95 % interval (Clopper and Pearson), in percent."""
    if of == 0:
        return "none"
    low, high = exact_interval(n, of)
    return f"{n} of {of} ({100 * low:.1f} to {100 * high:.1f})"
