"""The findings of a search by their numbers: all that it found, without those that a closing look refused."""

from __future__ import annotations

from flashbulb.audit.discover.search import Discovery, SearchState
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
