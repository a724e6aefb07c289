"""The findings of a search by their numbers: all that has a verdict, without candidates for closing looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.images.distances import RgbImage, is_near_any
from flashbulb.audit.recover.outcome import VERDICTS

SURE_AT, NEAR_SURER = 0.95, 0.25
"""A confirmed finding of less confidence, within this distance of a surer one, is likely; chosen on `gazette`."""


def findings_of(state: SearchState) -> dict[int, Discovery]:
    """Return the findings by number, in the order found."""
    return {i: d for i, d in enumerate(state.discoveries) if d.outcome.verdict != "not_shown"}


def doubted(discoveries: Sequence[Discovery]) -> list[Discovery]:
    """Count confirmed findings near a surer one as likely, unless they are sure or copy a training image.

    Most of what is confirmed wrongly is a blurred memory, or a template in a colour that is none of its own.
    """
    confirmed = [i for i, discovery in enumerate(discoveries) if discovery.outcome.verdict == "confirmed"]
    confirmed.sort(key=lambda i: -(discoveries[i].outcome.confidence or 0.0))
    judged, surer = list(discoveries), list[RgbImage]()
    for i in confirmed:
        image, outcome = discoveries[i].image, discoveries[i].outcome
        is_sure = outcome.copied is not None or (outcome.confidence or 0.0) >= SURE_AT
        if not is_sure and is_near_any(image, surer, NEAR_SURER):
            judged[i] = replace(discoveries[i], outcome=replace(outcome, verdict="likely"))
        surer.append(image)
    return judged


def surest_first(state: SearchState) -> list[int]:
    """Return the numbers of the findings, by verdict and confidence."""

    def doubt(number: int) -> tuple[int, float]:
        outcome = state.discoveries[number].outcome
        return -VERDICTS.index(outcome.verdict), -(outcome.confidence or 0.0)

    return sorted(findings_of(state), key=doubt)
