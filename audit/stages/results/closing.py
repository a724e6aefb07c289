"""Closing looks at what a discovery reached, after each of its rounds and within its limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from flashbulb.audit.discover.closing import Closed, ClosingLooks, ClosingPlan
from flashbulb.audit.discover.findings import doubted, findings_of
from flashbulb.audit.discover.search import SAME_IMAGE_DISTANCE
from flashbulb.audit.discover.state import Discovery, SearchState
from flashbulb.audit.discover.waiting import Waiting
from flashbulb.audit.images.distances import RgbImage, is_near_any
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.pull.familiarity import RankPlan
from flashbulb.audit.pull.pulling import PullPlan
from flashbulb.audit.recover.outcome import Outcome, judge
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.directory import fingerprint_of
from flashbulb.audit.run.finding_store import FindingStore
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.run.whole_calls import of_whole_calls
from flashbulb.audit.settings import DiscoverSettings
from flashbulb.audit.stages.results.findings import (
    DiscoverySession,
    remove_finding_image,
    save_finding,
    show_finding,
)
from flashbulb.audit.stages.results.recovery_tables import finding_id
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.reports.bounds.rates import count_text
from flashbulb.reports.tables.files import DISCOVERY_DIRECTORY
from flashbulb.reports.tables.limits import CONFIRMED_AT
from flashbulb.reports.views.discovery import ClosingCounts

logger = logging.getLogger(__name__)

LIKELY_AT = 0.65
"""Confidence from which what a closing look saw is likely."""

LOOKS_SHARE = 0.65
"""Share of all UE that closing looks may take before the rounds are over, chosen on `gazette`."""

_BLOCK = 16  # looks taken before the next candidates are compared with what they show


def closing_looks(settings: DiscoverSettings, denoiser: Denoiser) -> ClosingLooks:
    """Return how closing looks are taken; experiments on `gazette` settled it (docs/discovery-tried.md)."""
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
    return ClosingLooks(denoiser, verifier, ClosingPlan(pull, 2, familiarity_rank(settings.seed)))


def familiarity_rank(run_seed: int, n_noises: int = 2) -> RankPlan:
    """Return how the familiarity of images is measured, by default as `flashbulb pull` does."""
    return RankPlan(run_seed, share=0.15, n_noises=n_noises)


class Closing:
    """Looks at the candidates of one search while it goes on; they change no round.

    What an earlier run saw is read from the disk, and counts as spent. Looks that a release took in another way are
    taken again, and count once. With `--no-closing-looks` it does nothing.

    Attributes:
        evaluations: UE spent on looks.
        n_looked, n_refused, n_repeated: see `ClosingCounts`.
    """

    def __init__(self, session: DiscoverySession) -> None:
        self._session = session
        self._looks = closing_looks(session.settings, session.denoiser)
        self._batches = ShrinkingBatches(session.settings.per_call, "closing looks")
        identity = fingerprint_of({"discovery": session.run.record["identity"], "closing": self._looks.plan.identity})
        self._store = FindingStore(session.run.path / DISCOVERY_DIRECTORY, "closing", Closed, identity)
        self._judged: dict[int, Discovery] = {}
        self._waiting = Waiting()
        self._passed: set[int] = set()  # what was looked at, or needs no look
        self._shown: list[RgbImage] = []
        self._copied: set[int | None] = set()
        """Training images that what is shown copies."""
        self.evaluations = self.n_looked = self.n_refused = self.n_repeated = 0

    @property
    def counts(self) -> ClosingCounts:
        """What the looks did so far."""
        return ClosingCounts(self.n_looked, self.n_refused, self.n_repeated)

    def budget_of_rounds(self, state: SearchState) -> int | None:
        """Return the UE that rounds may have spent, so that looks at what they reach are still paid for."""
        settings = self._session.settings
        if settings.budget is None or not settings.closing_looks:
            return settings.budget
        waiting = (len(state.discoveries) - len(self._passed)) * self._looks.most_evaluations
        return max(int((1 - LOOKS_SHARE) * settings.budget), settings.budget - self.evaluations - waiting)

    def judged(self, state: SearchState) -> SearchState:
        """Return the state as the looks leave it, their UE included."""
        discoveries = [self._judged.get(i, discovery) for i, discovery in enumerate(state.discoveries)]
        if not self._session.settings.closing_looks:
            return replace(state, discoveries=discoveries)
        return replace(state, discoveries=doubted(discoveries), spent={**state.spent, "close": self.evaluations})

    def after_round_(self, state: SearchState) -> None:
        """Look at the most promising candidates, as far as their share of the UE goes."""
        self._look_(state, int(LOOKS_SHARE / (1 - LOOKS_SHARE) * state.evaluations))

    def finish_(self, state: SearchState) -> None:
        """Look at candidates until the limits are spent; a finding that no look was left for may repeat another."""
        self._look_(state, None)
        if self._session.settings.closing_looks:
            for number in [i for i in findings_of(state) if i not in self._passed]:
                self._show_copy_or_drop_(state.discoveries[number], number)
            logger.info("%d closing looks, %d findings refused, %d repeated", *asdict(self.counts).values())

    def _look_(self, state: SearchState, limit: int | None) -> None:
        if not self._session.settings.closing_looks:
            return
        started = time.monotonic()
        self._waiting.renew_(state)
        while block := self._next_block_(state, limit):
            looked = self._take(state, block)
            if not looked:
                self._passed -= {*block}
                break
            for number, closed in zip(block, looked, strict=True):
                self._settle_(state, number, closed)
        self._session.on_closing += time.monotonic() - started

    def _next_block_(self, state: SearchState, limit: int | None) -> list[int]:
        """Return what to look at next; empty at the end of the limits.

        Args:
            limit: UE that looks may have taken; None for what is left of the budget.
        """
        budget = self._session.settings.budget
        limits = [most for most in (limit, None if budget is None else budget - state.evaluations) if most is not None]
        affordable = min([_BLOCK, *((most - self.evaluations) // self._looks.most_evaluations for most in limits)])
        block: list[int] = []
        for number in self._waiting.order(self._passed) if affordable > 0 else ():
            self._passed.add(number)
            if not self._show_copy_or_drop_(state.discoveries[number], number):
                block.append(number)
            if len(block) == affordable:
                break
        return block

    def _show_copy_or_drop_(self, discovery: Discovery, number: int) -> bool:
        """Return whether a candidate needs no look: it copies a training image, or shows what another one shows."""
        copied = discovery.outcome.copied
        if copied is not None and copied not in self._copied:
            self._show_(discovery)
        elif self._is_shown(discovery.image, discovery.outcome):
            self._drop_(discovery, number)
            self.n_repeated += discovery.outcome.verdict != "not_shown"
        else:
            return False
        return True

    def _take(self, state: SearchState, block: Sequence[int]) -> list[Closed]:
        """Look at images, or read what an earlier run saw; return nothing if a look is missing and the time is over."""
        keeps = self._session.settings.images
        aims = {i: state.discoveries[i].image for i in block}
        looked = self._kept(aims) if keeps else {}
        missing = [i for i in block if i not in looked]
        if missing and self._session.is_over:
            return []
        if missing:
            images = np.stack([aims[i] for i in missing])
            names = [finding_id(i) for i in missing]
            if n_others := sum(map(self._store.has_file, names)) if keeps else 0:
                line = "taking %s of another release, at other images or not complete again"
                logger.info(line, count_text(n_others, "look"))
            spent = state.evaluations + self.evaluations
            with self._session.progress("looking closely", self._session.settings.budget, spent):
                looks = self._batches.call(lambda batch_size: self._looks_in(batch_size).look(images, names))
            looked |= dict(zip(missing, looks, strict=True))
        for i in missing if keeps else ():
            self._store.save(finding_id(i), aims[i], looked[i])
        return [looked[i] for i in block]

    def _kept(self, aims: Mapping[int, RgbImage]) -> dict[int, Closed]:
        """Return what an earlier run saw, but nothing of a call of which something is missing."""
        loaded = {finding_id(i): self._store.load(finding_id(i), aim) for i, aim in aims.items()}
        whole = of_whole_calls(loaded, self._store.has_file)
        return {i: whole[finding_id(i)] for i in aims if finding_id(i) in whole}

    def _looks_in(self, batch_size: int) -> ClosingLooks:
        settings = self._session.settings.model_copy(update={"batch_size": batch_size})
        return closing_looks(settings, self._session.denoiser)

    def _settle_(self, state: SearchState, number: int, closed: Closed) -> None:
        """Judge a finding or a single sample by a look at it."""
        self.n_looked += 1
        self.evaluations += closed.evaluations
        before, outcome = state.discoveries[number], outcome_of(closed, self._session.training)
        is_refused, is_repeated = outcome.verdict == "not_shown", self._is_shown(closed.image, outcome)
        is_finding = before.outcome.verdict != "not_shown"
        if not is_finding:
            self._waiting.learn_(before, is_new=not (is_refused or is_repeated))
        if is_refused or is_repeated:
            self._drop_(before, number)
            self.n_refused += is_finding and is_refused
            self.n_repeated += is_finding and not is_refused
        else:
            spent, cost = state.evaluations + self.evaluations, before.cost + closed.evaluations
            looked = replace(before, outcome=outcome, images=closed.images, cost=cost, evaluations=spent)
            self._judged[number] = looked
            self._show_(looked)
            save_finding(self._session, looked, number)
            show_finding(self._session, looked, number)

    def _drop_(self, discovery: Discovery, number: int) -> None:
        self._judged[number] = replace(discovery, outcome=replace(discovery.outcome, verdict="not_shown"))
        remove_finding_image(self._session, number)

    def _show_(self, discovery: Discovery) -> None:
        self._shown.append(discovery.image)
        self._copied |= {discovery.outcome.copied} - {None}

    def _is_shown(self, image: RgbImage, outcome: Outcome) -> bool:
        return outcome.copied in self._copied or is_near_any(image, self._shown, SAME_IMAGE_DISTANCE)


def outcome_of(closed: Closed, training: TrainingImages | None) -> Outcome:
    """Judge what a closing look saw by its confidence; with training images, only a copy of one is confirmed."""
    outcome = judge(closed.images, training, None, source="blind")
    if outcome.verdict == "not_shown" and closed.confidence >= LIKELY_AT:
        is_sure = closed.confidence >= CONFIRMED_AT and training is None
        outcome = replace(outcome, verdict="confirmed" if is_sure else "likely")
    return replace(outcome, confidence=closed.confidence)
