"""The largest group of a prompt's samples that are alike, and what a look at it shows.

One sample proves nothing without its training image. Samples that are alike although their seeds differ do, unless they
show a plain colour or a regular pattern.
"""

from __future__ import annotations

from collections.abc import Sequence

from flashbulb.audit.images.distances import AGREEMENT_DISTANCE, RgbImages, tile_distances
from flashbulb.audit.images.reduced import reduce_images
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.recurrence import find_recurrences
from flashbulb.audit.recover.verify import Looked, Verifier

LEAST_ALIKE = 3
"""Samples that must be alike to count; chosen on the planted models (docs/recovery-tried.md)."""
MOST_KEPT = 4
"""Samples of a group that are verified and kept, the most alike first."""


def alike_samples(images: RgbImages) -> list[int]:
    """Return the largest group of samples [seed, height, width, 3] that show one image, and no plain colour or pattern.

    They are indices, the sample in the middle first, at most `MOST_KEPT`; none if fewer than `LEAST_ALIKE` are alike,
    reduced to 32 by 32 pixels and as they are.
    """
    (recurring,) = find_recurrences([""], [reduce_images(images)])
    if not recurring or recurring[0].n_seeds + 1 < LEAST_ALIKE:
        return []
    distances = tile_distances(images, images[recurring[0].sample])
    alike = [int(i) for i in distances.argsort(kind="stable") if distances[i] <= AGREEMENT_DISTANCE]
    return alike[:MOST_KEPT] if len(alike) >= LEAST_ALIKE else []


def look_at_groups(
    verifier: Verifier,
    conditioning: Conditioning,
    keys: Sequence[str],
    sampled: Sequence[RgbImages],
    groups: Sequence[Sequence[int]],
) -> list[Looked]:
    """Measure the signs of each prompt's group; where there is none, the first samples stand for all.

    Args:
        conditioning: what gave the sample in the middle of each group, a row each.
        keys: seeds of each row's noise.
        sampled: all samples of each prompt, [seed, height, width, 3].
        groups: as `alike_samples` gives them.
    """
    looked = [Looked(images[:MOST_KEPT], None, 0) for images in sampled]
    found = [i for i, group in enumerate(groups) if group]
    if found:
        shown = [sampled[i][list(groups[i])] for i in found]
        looks = verifier.look_at_guided(conditioning.rows(found), [keys[i] for i in found], shown)
        for i, look in zip(found, looks, strict=True):
            looked[i] = look
    return looked
