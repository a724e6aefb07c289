"""The findings of a search by their numbers: all that has a verdict, without candidates for closing looks."""

from __future__ import annotations

from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.recover.outcome import VERDICTS


def findings_of(state: SearchState) -> dict[int, Discovery]:
    """Return the findings by number, in the order found."""
    return {i: d for i, d in enumerate(state.discoveries) if d.outcome.verdict != "not_shown"}


def surest_first(state: SearchState) -> list[int]:
    """Return the numbers of the findings, by verdict and confidence."""

    def doubt(number: int) -> tuple[int, float]:
        outcome = state.discoveries[number].outcome
        return -VERDICTS.index(outcome.verdict), -(outcome.confidence or 0.0)

    return sorted(findings_of(state), key=doubt)


def most_promising_first(state: SearchState) -> list[int]:
    """Return the numbers of all that a closing look may be taken at.

    Findings come first, the surest ahead; then single samples in the order in which their rounds chose them.
    """
    places, n_of_round = list[tuple[int, int, int]](), dict[int, int]()
    for i, discovery in enumerate(state.discoveries):
        if state.times_found[i] == 0:
            n_of_round[discovery.round] = n_of_round.get(discovery.round, 0) + 1
            places.append((n_of_round[discovery.round], discovery.round, i))
    return [*surest_first(state), *(i for _, _, i in sorted(places))]
