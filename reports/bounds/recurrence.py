"""Whether images that come back are evidence of memories: controls, which nobody suspects, say how often they do so.

Two samples of a run can be alike by chance: where descriptions leave little open, or where a model draws little.
Controls are sampled as flagged prompts are. If images come back with them as well, that flagged prompts do so says
nothing.
"""

from typing import NamedTuple

MAX_OF_CONTROLS = 0.02
"""Largest share of controls that may give an image again."""
MAX_OF_FLAGGED = 0.1
"""Largest rate among controls, one more counted with an image, relative to the rate among flagged prompts."""


class Recurring(NamedTuple):
    """So many of so many flagged prompts, and of so many controls, give an image again."""

    flagged: int
    n_flagged: int
    controls: int
    n_controls: int

    @property
    def is_evidence(self) -> bool:
        """Whether images that come back with flagged prompts count as memories.

        One control too many is assumed, so that few controls prove nothing: with 34 of them, none may give an image
        again, and at least 10 of 34 flagged prompts must.
        """
        if self.controls > MAX_OF_CONTROLS * self.n_controls:
            return False
        rate_of_controls = (self.controls + 1) / (self.n_controls + 1)
        return rate_of_controls * self.n_flagged <= MAX_OF_FLAGGED * self.flagged
