"""Sample ordinary prompts once each, and find the samples that copy an image or that several prompts share.

Images are compared with one another at 128 pixels a side, so that a thousand large ones fit into memory. The distance
between block means never exceeds the tile distance, so only pairs near by it are compared pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImage, tile_distances
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.recover.climbing import Recovery
from flashbulb.audit.recover.tasks import Performer, samples_of
from flashbulb.audit.training_images.blocks import block_means, lower_bounds
from flashbulb.audit.training_images.matching import FINE_SIDE, MIN_ZNCC, luma, shrink, zncc
from flashbulb.audit.training_images.resemblance import Nearest
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE


@dataclass(frozen=True, slots=True)
class OrdinarySample:
    """The only sample of an ordinary prompt.

    Args:
        nearest: the training image nearest to it; None without training images.
        finding_id: the finding whose image it shows; None if it shows none.
        n_recurring: other ordinary prompts whose samples show the same image.
    """

    prompt: Prompt
    nearest: Nearest | None
    finding_id: str | None
    n_recurring: int


def sample_ordinary(
    recovery: Recovery, performer: Performer, prompts: Sequence[Prompt], findings: Mapping[str, RgbImage]
) -> list[OrdinarySample]:
    """Sample every prompt once and compare the images; images of the same plan and model on disk are kept.

    Args:
        prompts: all different.
        findings: the image of each finding of the run, by its id.
    """
    nearest: dict[str, Nearest | None] = {}
    small: dict[str, RgbImage] = {}
    for prompt, sampled in samples_of(recovery, performer, prompts, 1, "sampling ordinary prompts"):
        (image,), (nearest[prompt.prompt_id],) = sampled.images, sampled.nearest
        small[prompt.prompt_id] = _shrunk(image)
    shown = {finding_id: _shrunk(image) for finding_id, image in findings.items()}
    ids = [prompt.prompt_id for prompt in prompts]
    counts = count_recurring([small[i] for i in ids])
    return [
        OrdinarySample(prompt, nearest[i], _finding_of(small[i], shown), n)
        for prompt, i, n in zip(prompts, ids, counts, strict=True)
    ]


def count_recurring(images: Sequence[RgbImage]) -> list[int]:
    """Count for each image of one size the others that show the same: as near as samples of seeds that agree."""
    counts = np.zeros(len(images), dtype=np.int64)
    means = np.array([block_means(image) for image in images])
    for first, image in enumerate(images):
        bounds = lower_bounds(means[first + 1 :], image)
        for second in (first + 1 + np.flatnonzero(bounds <= AGREEMENT_DISTANCE)).tolist():
            counts[[first, second]] += _shows_the_same(image, images[second], AGREEMENT_DISTANCE)
    return [int(count) for count in counts]


def _shrunk(image: RgbImage) -> RgbImage:
    return np.asarray(shrink(Image.fromarray(image), FINE_SIDE))


def _finding_of(image: RgbImage, findings: Mapping[str, RgbImage]) -> str | None:
    """Return the first finding whose image a sample shows."""
    shown = (name for name, found in findings.items() if _shows_the_same(image, found, REPLICATION_DISTANCE))
    return next(shown, None)


def _shows_the_same(first: RgbImage, second: RgbImage, limit: float) -> bool:
    """Return whether two generated images show the same: near by their tiles, and alike in brightness."""
    return float(tile_distances(first[None], second)[0]) <= limit and zncc(luma(first), luma(second)) >= MIN_ZNCC
