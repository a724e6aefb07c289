"""Judge the images of an attempt: agreement of seeds, nearest training image, verdict, severity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from flashbulb.audit.images.distances import RgbImage, RgbImages, agrees, medoid, seed_agreement
from flashbulb.audit.images.fixed_part import FixedPart, fixed_part
from flashbulb.audit.recover.signs import Signs, confidence_of, verdict_of
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.audit.training_images.templates import template_match
from flashbulb.reports.tables.limits import FALSE_DISCOVERY_RATE, TEMPLATE, VERBATIM

VERDICTS = ("not_shown", "likely", "confirmed")
"""Weakest first."""

Source = Literal["plain", "driven", "blind"]
"""Where images come from: plain samples of a prompt, what a strategy drove the model to from a prompt, or from none."""

MIN_AGREEMENT = {"confirmed": 0.5, "likely": 0.75}
"""Share of seeds that must give the same image before a prompt counts as recalling it."""

MIN_KINSHIP = 0.75
"""From this cosine on, what an ascent reached belongs to its own prompt. In audits of the embedded model the cosine was
0.81 to 0.96 where a flagged prompt's own image came out, and up to 0.70 where a prompt was driven to the memory of
another. For captions known in part, about half of the images that come out lie below it: their verdict is not_shown."""

MIN_COPIES = 0.5
"""Share of the images of an ascent or of cyclic denoising that must copy a training image: among many prompts that are
moved, a single sample meets some memory by chance."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt on one prompt shows.

    Args:
        best: index of the image that represents it.
        agreement: share of the images in the largest group that shows one image.
        nearest: training image nearest to the best image; None without training images.
        confidence: probability that the images show a memory, from their signs alone; None where too few agree.
        verdict: confirmed, likely or not_shown.
        is_part: the fixed part of the images is what makes it likely, without a training image that has it.
        comes_back: the verdict rests on an image that comes back in the run, see `recurrence`.
    """

    best: int
    agreement: float
    nearest: Nearest | None
    confidence: float | None
    verdict: str
    is_part: bool = False
    comes_back: bool = False

    @property
    def kind(self) -> str | None:
        """verbatim or template: how the training image, or its fixed part, came back; None where none did."""
        if self.is_part:
            return TEMPLATE
        return self.nearest.kind if self.nearest is not None and self.verdict != "not_shown" else None

    @property
    def copied(self) -> int | None:
        """Index of the training image that a confirmed outcome copies; None where there is none."""
        return self.nearest.index if self.nearest is not None and self.verdict == "confirmed" else None


@dataclass(frozen=True, slots=True)
class JudgedAttempt:
    """One attempt and its outcome; of its images only the one that stands for it stays in memory.

    Args:
        image_path: path of its best image, relative to the run; None where no image is kept.
        fixed_share: share of the image that every seed repeats.
        mask_path: mask of the part that every seed repeats; None where that is the whole image or nothing.
        alike_seeds, alike_prompts: how often an image of plain samples comes back, see `recurrence`; None for others.
    """

    strategy: str
    restart: int
    evaluations: int
    outcome: Outcome
    image: RgbImage
    image_path: str | None
    fixed_share: float
    mask_path: str | None
    alike_seeds: int | None = None
    alike_prompts: int | None = None


def judge(
    images: RgbImages,
    training: TrainingImages | None,
    signs: Signs | None,
    *,
    kinship: float | None = None,
    source: Source = "plain",
) -> Outcome:
    """Judge one prompt's images as `judge_found`, after a search for the training image nearest to each."""
    found = nearest_of(images, training)
    return judge_found(images, found, training, signs, kinship=kinship, source=source)


def nearest_of(images: RgbImages, training: TrainingImages | None) -> Sequence[Nearest | None]:
    """Return the training image nearest to each image; None without training images."""
    return training.nearest(images) if training is not None else [None] * len(images)


def copies_by_image(nearest: Sequence[Nearest | None]) -> dict[int, list[int]]:
    """Return which samples copy a training image, the closest first, by the index of the training image.

    The image with most copies comes first.
    """
    copies: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for sample, found in enumerate(nearest):
        if found is not None and found.kind == VERBATIM:
            copies[found.index].append((found.distance, sample))
    most_first = sorted(copies.items(), key=lambda item: (-len(item[1]), min(item[1])))
    return {index: [sample for _, sample in sorted(samples)] for index, samples in most_first}


def judge_found(
    images: RgbImages,
    found: Sequence[Nearest | None],
    training: TrainingImages | None,
    signs: Signs | None,
    *,
    kinship: float | None,
    source: Source,
) -> Outcome:
    """Judge one prompt's images [seed, height, width, 3].

    With training images, an outcome is confirmed only if it copies one of them. A common part, or the signs, make it
    likely at most, because the given training images may be incomplete. Without training images the signs decide.

    Args:
        found: the training image nearest to each image.
        signs: None where too few of the images agree to measure them.
        kinship: cosine of what an ascent reached to the prompt; below `MIN_KINSHIP` the image is another prompt's.
        source: of the images; unless it is plain, `MIN_COPIES` of them must copy a training image, and where it is
            blind, the signs suffice without `MIN_AGREEMENT`.
    """
    agreement = seed_agreement(images)
    copies = sum(nearest is not None and nearest.kind == VERBATIM for nearest in found) / len(found)
    typical = medoid(images)
    is_plain = source == "plain"
    confidence = confidence_of(signs, is_plain=is_plain) if signs is not None else None
    if kinship is not None and kinship < MIN_KINSHIP:
        return Outcome(typical, agreement, found[typical], confidence, "not_shown")
    if copies > 0 and (is_plain or copies >= MIN_COPIES):
        (closest, *_), *_ = copies_by_image(found).values()
        return Outcome(closest, agreement, found[closest], confidence, "confirmed")
    template = _template(images[typical], fixed_part(images), training, found[typical])
    if template is not None:
        return Outcome(typical, agreement, template, confidence, "likely")
    verdict = verdict_of(confidence) if confidence is not None else "not_shown"
    if source != "blind" and not agrees(agreement, len(images), MIN_AGREEMENT.get(verdict, 0)):
        verdict = "not_shown"
    if training is not None and verdict == "confirmed":
        verdict = "likely"
    return Outcome(typical, agreement, found[typical], confidence, verdict)


def _template(
    image: RgbImage, part: FixedPart, training: TrainingImages | None, nearest: Nearest | None
) -> Nearest | None:
    """Return the nearest training image if it contains the part that every seed repeats."""
    if training is None or nearest is None or not part.is_partial:
        return None
    match = template_match(image, training.image(nearest.index), part.mask)
    return replace(nearest, kind=TEMPLATE, distance=match.distance) if match.is_match else None


def severity(flagged: bool, q_value: float, outcome: Outcome | None) -> str:
    """Return high (flagged, an image came back), medium (flagged, significant over the set), low (flagged) or none."""
    if not flagged:
        return "none"
    if outcome is not None and outcome.verdict != "not_shown":
        return "high"
    return "medium" if q_value <= FALSE_DISCOVERY_RATE else "low"


def severities(flagged: Sequence[bool], q_values: Sequence[float], outcomes: Mapping[int, Outcome]) -> tuple[str, ...]:
    """Return the severity of each candidate; `outcomes` are those of the prompts that were tried, by position."""
    judged = zip(flagged, q_values, strict=True)
    return tuple(severity(flag, q, outcomes.get(i)) for i, (flag, q) in enumerate(judged))
