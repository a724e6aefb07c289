"""Count how often a search comes to each image, from which follows how much it has not found yet.

Findings that replicate one another are one image: a start that comes within the replication distance of several
findings joins them. What no start reaches is not in the estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from flashbulb.audit.images.distances import RgbImage, tile_distances
from flashbulb.reports.bounds.unseen import Unseen, estimate_unseen
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE


@dataclass(slots=True)
class Finds:
    """How often a search came to each of its findings.

    Args:
        times: starts that showed each finding and no nearer one, its own included.
        image_of: for each finding, the first finding that shows the same image.
    """

    times: list[int] = field(default_factory=list)
    image_of: list[int] = field(default_factory=list)

    def add(self, image: RgbImage, known: Sequence[RgbImage]) -> None:
        """Add a new finding to the `known` ones."""
        number = len(self.times)
        self.times.append(1)
        self.image_of.append(number)
        self._join([number, *_replicated(image, known)])

    def repeat(self, image: RgbImage, known: Sequence[RgbImage]) -> None:
        """Count a start that gives no new finding, if it shows a known one."""
        same = _replicated(image, known)
        if same:
            self.times[same[0]] += 1
            self._join(same)

    def unseen(self) -> Unseen | None:
        """Return the estimated share of new images among further finds; None before the first find."""
        by_image: Counter[int] = Counter()
        for image, n in zip(self.image_of, self.times, strict=True):
            by_image[image] += n
        return estimate_unseen(list(by_image.values()))

    def _join(self, same: Sequence[int]) -> None:
        joined = {self.image_of[i] for i in same}
        self.image_of = [min(joined) if image in joined else image for image in self.image_of]


def _replicated(image: RgbImage, known: Sequence[RgbImage]) -> list[int]:
    """Return the known images that this one replicates, the nearest first."""
    if not known:
        return []
    distances = tile_distances(np.stack(known), image)
    return [int(i) for i in np.argsort(distances, kind="stable") if distances[i] <= REPLICATION_DISTANCE]
