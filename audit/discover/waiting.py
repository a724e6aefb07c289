"""In which order closing looks are taken: at findings first, then at candidates, more of the kind that brings more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from flashbulb.audit.discover.candidates import doubts
from flashbulb.audit.discover.findings import surest_first
from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.images.reduced import reduce_images


class Waiting:
    """Numbers of all that closing looks may be taken at, the most promising of each kind ahead."""

    def __init__(self) -> None:
        self.findings: list[int] = []
        self.samples: list[int] = []
        self.glances: list[int] = []
        self._of_samples, self._of_glances = _Promise(), _Promise()

    def renew_(self, state: SearchState) -> None:
        """Take in what the search has reached since."""
        candidates = [i for i, times in enumerate(state.times_found) if not times]
        self.findings = surest_first(state)
        self.glances = [i for i in candidates if _is_glance(state.discoveries[i])]
        self.glances.sort(key=lambda i: -(state.discoveries[i].familiarity or 0.0))
        self.samples = _least_doubtful_first(state, [i for i in candidates if not _is_glance(state.discoveries[i])])

    def learn_(self, candidate: Discovery, *, is_new: bool) -> None:
        """Take in whether a look at a candidate showed something new."""
        promise = self._of_glances if _is_glance(candidate) else self._of_samples
        promise.n_looks += 1
        promise.n_new += is_new

    def order(self, passed: Collection[int]) -> list[int]:
        """Return the order of the next looks, without what is `passed`."""
        findings, samples, glances = (
            [i for i in kind if i not in passed] for kind in (self.findings, self.samples, self.glances)
        )
        share = self._of_glances.of_look / (self._of_glances.of_look + self._of_samples.of_look)
        return [*findings, *by_turns(samples, glances, share)]


@dataclass(slots=True)
class _Promise:
    """How often looks at one kind of candidate brought something new."""

    n_looks: int = 0
    n_new: int = 0

    @property
    def of_look(self) -> float:
        """Chance that the next look does, by Laplace's rule of succession."""
        return (self.n_new + 1) / (self.n_looks + 2)


def by_turns(first: Sequence[int], second: Sequence[int], share: float) -> list[int]:
    """Merge two orders, so that `share` of every beginning is of the second, until one of them ends."""
    merged: list[int] = []
    n_second = 0
    while (n_first := len(merged) - n_second) < len(first) and n_second < len(second):
        if n_second < share * (len(merged) + 1):
            merged.append(second[n_second])
            n_second += 1
        else:
            merged.append(first[n_first])
    return [*merged, *first[n_first:], *second[n_second:]]


def _is_glance(candidate: Discovery) -> bool:
    return candidate.familiarity is not None


def _least_doubtful_first(state: SearchState, singles: list[int]) -> list[int]:
    if not singles:
        return []
    images = reduce_images(state.discoveries[i].image for i in singles)
    places = [(state.discoveries[i].round, state.discoveries[i].start) for i in singles]
    return [singles[i] for i in np.argsort(doubts(images, places, state.glimpses), kind="stable").tolist()]
