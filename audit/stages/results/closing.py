"""Closing looks at the findings of a discovery, within its budget: the rounds leave enough to pay for them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from flashbulb.audit.discover.closing import Closed, ClosingLooks, ClosingPlan
from flashbulb.audit.discover.closing_store import ClosingStore
from flashbulb.audit.discover.findings import surest_first
from flashbulb.audit.discover.search import SAME_IMAGE_DISTANCE, SearchState
from flashbulb.audit.images.distances import RgbImage, is_near_any
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.familiarity import RankPlan
from flashbulb.audit.pull.pulling import PullPlan
from flashbulb.audit.recover.outcome import Outcome, judge
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.directory import fingerprint_of
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.results.discovery import (
    DiscoverySession,
    remove_finding_image,
    save_finding,
    show_finding,
)
from flashbulb.audit.stages.results.recovery_tables import finding_id
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.reports.tables.files import DISCOVERY_DIRECTORY
from flashbulb.reports.tables.limits import CONFIRMED_AT
from flashbulb.reports.views.discovery import ClosingCounts

logger = logging.getLogger(__name__)

LIKELY_AT = 0.6
"""Confidence from which a closing look leaves a finding likely."""

_BLOCK = 16  # looks taken before the next findings are compared with what they show


def closing_looks(settings: DiscoverSettings, denoiser: Denoiser) -> ClosingLooks:
    """Return how closing looks are taken. No user sets it: experiments on `gazette` settled it (docs/discovery.md)."""
    pull = PullPlan(
        run_seed=settings.seed,
        n_steps=15,
        learning_rate=0.15,
        radius=1.0,
        lowest=0.6,
        highest=0.99,
        n_samples=3,
        sample_steps=10,
        guidance_scale=2.0,
        batch_size=settings.per_call,
        checkpointing=settings.checkpointing,
    )
    verifier = Verifier(denoiser, VerifyPlan(settings.seed, settings.n_samples, settings.sample_steps, _BLOCK))
    return ClosingLooks(denoiser, verifier, ClosingPlan(pull, 2, RankPlan(settings.seed, share=0.15, n_noises=2)))


def budget_of_rounds(session: DiscoverySession, state: SearchState) -> int:
    """Return the UE that rounds may have spent, so that looks at all that was found are still paid for."""
    budget = session.settings.budget
    return sys.maxsize if budget is None else budget - _kept_for_looks(session, state)


def rounds_are_over(session: DiscoverySession, state: SearchState) -> bool:
    """Return whether the time that is left suffices only for looks, at the pace of the rounds."""
    pace = state.seconds / state.evaluations  # seconds a UE
    elapsed = time.monotonic() - session.started + pace * _kept_for_looks(session, state)
    return session.settings.minutes is not None and elapsed > 60 * session.settings.minutes


def _kept_for_looks(session: DiscoverySession, state: SearchState) -> int:
    if not session.settings.closing_looks:
        return 0
    return len(_to_look_at(session, state)) * closing_looks(session.settings, session.denoiser).most_evaluations


def _to_look_at(session: DiscoverySession, state: SearchState) -> list[int]:
    """Return the numbers of findings, the surest first, without copies of given training images: these need no look."""
    is_sure = [session.training is not None and d.outcome.verdict == "confirmed" for d in state.discoveries]
    return [i for i in surest_first(state) if not is_sure[i]]


def close_findings_(session: DiscoverySession, state: SearchState) -> ClosingCounts:
    """Look closely at findings, the surest first, until the budget is spent, and judge them by what comes.

    A finding that is refused, or that shows what a surer one shows, becomes not_shown. What an earlier run saw is
    read from the disk, and counts as spent.
    """
    if not session.settings.closing_looks:
        return ClosingCounts()
    closing = _Closing(session, state)
    started, state.spent["close"] = time.monotonic(), 0
    while (block := closing.next_block_()) and not session.is_over:
        for number, closed in zip(block, closing.look(block), strict=True):
            closing.settle_(number, closed)
    session.on_closing = time.monotonic() - started
    logger.info("%d closing looks, %d refused, %d show a surer finding", *closing.counts)
    return ClosingCounts(*closing.counts)


class _Closing:
    """The findings of one search while they are looked at.

    Attributes:
        counts: looks taken, findings refused, findings that show what a surer one shows.
    """

    def __init__(self, session: DiscoverySession, state: SearchState) -> None:
        self._session, self._state = session, state
        self._looks = closing_looks(session.settings, session.denoiser)
        self._batches = ShrinkingBatches(session.settings.per_call, "closing looks")
        identity = fingerprint_of({"discovery": session.run.record["identity"], "closing": asdict(self._looks.plan)})
        self._store = ClosingStore(session.run.path / DISCOVERY_DIRECTORY, identity)
        self._waiting = _to_look_at(session, state)
        self._shown = [d.image for i, d in enumerate(state.discoveries) if i not in self._waiting]
        self.counts = [0, 0, 0]

    def next_block_(self) -> list[int]:
        """Return the findings to look at next; empty at the end of the budget or of the findings."""
        repeated = [i for i in self._waiting if self._is_shown(self._state.discoveries[i].image)]
        for number in repeated:
            self._drop_(number, 2)
        self._waiting = [i for i in self._waiting if i not in repeated]
        budget, spent = self._session.settings.budget, self._state.evaluations
        affordable = _BLOCK if budget is None else max(0, budget - spent) // self._looks.most_evaluations
        block = self._waiting[: min(_BLOCK, affordable)]
        self._waiting = self._waiting[len(block) :]
        return block

    def look(self, block: Sequence[int]) -> list[Closed]:
        """Look at findings, or read what an earlier run saw."""
        kept = {i: self._store.load(finding_id(i)) if self._session.settings.images else None for i in block}
        missing = [i for i in block if kept[i] is None]
        if missing:
            images = np.stack([self._state.discoveries[i].image for i in missing])
            names = [finding_id(i) for i in missing]
            looked = self._batches.call(lambda batch_size: self._looks_in(batch_size).look(images, names))
            kept |= dict(zip(missing, looked, strict=True))
        return [closed for i in block if (closed := kept[i]) is not None]

    def _looks_in(self, batch_size: int) -> ClosingLooks:
        settings = self._session.settings.model_copy(update={"batch_size": batch_size})
        return closing_looks(settings, self._session.denoiser)

    def settle_(self, number: int, closed: Closed) -> None:
        """Judge a finding by a look at it."""
        session, discovery = self._session, self._state.discoveries[number]
        if session.settings.images:
            self._store.save(finding_id(number), closed)
        self.counts[0] += 1
        self._state.spent["close"] += closed.evaluations
        outcome = outcome_of(closed, session.training)
        if outcome.verdict == "not_shown":
            self._drop_(number, 1)
        elif self._is_shown(closed.image):
            self._drop_(number, 2)
        else:
            cost = discovery.cost + closed.evaluations
            looked = replace(discovery, outcome=outcome, images=closed.images, cost=cost)
            self._state.discoveries[number] = looked
            self._shown.append(closed.image)
            save_finding(session, looked, number)
            show_finding(session, looked, number)

    def _drop_(self, number: int, reason: int) -> None:
        discovery = self._state.discoveries[number]
        self._state.discoveries[number] = replace(discovery, outcome=replace(discovery.outcome, verdict="not_shown"))
        self.counts[reason] += 1
        remove_finding_image(self._session, number)

    def _is_shown(self, image: RgbImage) -> bool:
        return is_near_any(image, self._shown, SAME_IMAGE_DISTANCE)


def outcome_of(closed: Closed, training: TrainingImages | None) -> Outcome:
    """Judge what a closing look saw by its confidence; with training images, only a copy of one is confirmed."""
    outcome = judge(closed.images, training, None, is_blind=True, is_pushed=True)
    if outcome.verdict == "not_shown" and closed.confidence >= LIKELY_AT:
        is_sure = closed.confidence >= CONFIRMED_AT and training is None
        outcome = replace(outcome, verdict="confirmed" if is_sure else "likely")
    return replace(outcome, confidence=closed.confidence)
