"""What a blind search has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from flashbulb.audit.discover.candidates import Place
from flashbulb.audit.images.distances import RgbImage, RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.recover.outcome import Outcome

NOT_SHOWN = Outcome(0, 1.0, None, None, "not_shown")
"""The outcome of a candidate before a closing look at it."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """One image that the search found for the first time, or a candidate for a closing look.

    Args:
        images: all samples of it, [seed, height, width, 3].
        conditioning: what gives it, one row; empty for a candidate.
        cost: UE of this start alone.
        evaluations: UE of the entire search until then.
        familiarity: of a glance at a text ascent; None for all else.
    """

    outcome: Outcome
    images: RgbImages
    conditioning: Conditioning
    round: int
    start: int
    cost: int
    evaluations: int
    familiarity: float | None = None

    @property
    def image(self) -> RgbImage:
        """The sample that represents it."""
        return np.asarray(self.images[self.outcome.best])


@dataclass(slots=True)
class SearchState:
    """What a search has found after some rounds; enough to resume from.

    Args:
        found: orthonormal directions of z-scores that are no longer climbed, [direction, neuron].
        spent: UE by part: reference, climb, verify, deflate, glance.
        times_found: starts that showed each discovery and no nearer one, its own included; 0 for candidates.
        glimpses: all samples of every start, reduced to 32 by 32 pixels.
        barren: consecutive rounds without a new image.
        seconds: time its rounds took.
    """

    found: Tensor
    spent: dict[str, int]
    discoveries: list[Discovery] = field(default_factory=list)
    times_found: list[int] = field(default_factory=list)
    glimpses: dict[Place, RgbImages] = field(default_factory=dict)
    n_rounds: int = 0
    n_starts: int = 0
    barren: int = 0
    seconds: float = 0.0

    @property
    def evaluations(self) -> int:
        """UE spent so far."""
        return sum(self.spent.values())

    @property
    def found_images(self) -> dict[int, RgbImage]:
        """Images of the findings by number, without candidates."""
        return {i: self.discoveries[i].image for i, times in enumerate(self.times_found) if times}
