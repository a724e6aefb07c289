"""Count the evaluations of a denoiser where they happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

BACKWARD_COST = 2
"""UE of one backward pass; with its forward evaluation a step costs 3."""


class EvaluationCounter:
    """How often a denoiser ran."""

    def __init__(self) -> None:
        self.evaluations = 0
        """Evaluations of the denoiser of one latent (UE) so far, in predictions and in sampling."""
        self._tell: Callable[[int], None] | None = None

    def count(self, n: int) -> None:
        """Count `n` more UE."""
        self.evaluations += n
        if self._tell is not None:
            self._tell(n)

    @contextmanager
    def counting_backward(self) -> Iterator[None]:
        """Count also one backward pass through every evaluation that is made while the context is open."""
        before = self.evaluations
        yield
        self.count(BACKWARD_COST * (self.evaluations - before))

    @contextmanager
    def telling(self, tell: Callable[[int], None]) -> Iterator[None]:
        """Tell how many UE were counted each time, while the context is open: progress of what takes long."""
        before, self._tell = self._tell, tell
        try:
            yield
        finally:
            self._tell = before
