"""What became of one prompt on the ladder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flashbulb.audit.recover.memories import Memory
from flashbulb.audit.recover.outcome import VERDICTS, JudgedAttempt


@dataclass(frozen=True, slots=True)
class Recovered:
    """One prompt after the ladder: its position among the candidates, its attempts in order, and its memories.

    `measured` holds each image detector's score of its samples, by name.
    """

    position: int
    is_control: bool
    attempts: list[JudgedAttempt]
    measured: Mapping[str, float]
    memories: list[Memory]

    @property
    def best(self) -> JudgedAttempt:
        """The first attempt with the strongest verdict."""
        return max(self.attempts, key=lambda attempt: VERDICTS.index(attempt.outcome.verdict))

    @property
    def finding(self) -> int | None:
        """Number of the first distinct image; None for controls, and where nothing was shown."""
        return self.memories[0].finding if self.memories else None
