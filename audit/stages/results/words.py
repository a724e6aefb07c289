"""Prompts in words for the findings of a discovery, within a budget of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from flashbulb.audit.discover.findings import surest_first
from flashbulb.audit.discover.state import SearchState
from flashbulb.audit.images.distances import RgbImage, is_near_any
from flashbulb.audit.images.png import save_image
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.recover.verify import VERIFY_SAMPLES, VERIFY_STEPS, Verifier, VerifyPlan
from flashbulb.audit.run.finding_store import FindingStore
from flashbulb.audit.run.shortage import ShrinkingBatches
from flashbulb.audit.settings import DiscoverSettings, SettingsError
from flashbulb.audit.stages.results.closing import familiarity_rank
from flashbulb.audit.stages.results.findings import DiscoverySession, kept_identity, show_words, words_image_name
from flashbulb.audit.stages.results.recovery_tables import finding_id
from flashbulb.audit.training_images.nearest import TrainingImages
from flashbulb.audit.words.descent import DescentPlan
from flashbulb.audit.words.words import Words, WordsPlan, WordsSearch
from flashbulb.reports.tables.files import DISCOVERY_DIRECTORY
from flashbulb.reports.tables.limits import REPLICATION_DISTANCE

logger = logging.getLogger(__name__)

CONFIRMED = "confirmed"
WORDS_SAMPLES = 16
"""Fresh seeds that measure the probability of a prompt."""

LEAST_SCORE, CONFIRMS_AT = 0.8, 2.65
"""Score of a pull that samples of words must exceed, as in `flashbulb pull` without controls; and the score from which
on they confirm the finding, if their plain verdict is confirmed. On `gazette` the one confirmed prompt that gives no
planted image scored 2.3; of the 13 others, one scored less and twelve at least 3.0."""


def words_search(denoiser: Denoiser, training: TrainingImages | None, settings: DiscoverSettings) -> WordsSearch:
    """Return how words are searched for. No user sets it: experiments on `gazette` settled it (docs/words.md)."""
    plan = WordsPlan(
        run_seed=settings.seed,
        shares=(0.7, 0.85),
        familiarity=familiarity_rank(settings.seed, n_noises=1),
        least_score=LEAST_SCORE,
        n_starts=64,
        n_stages=3,
        stage_evaluations=400,
        descent=DescentPlan(n_changed=32, n_tokens=32, most_tokens=20),
        n_tried=2,
        n_trials=3,
        n_samples=WORDS_SAMPLES,
        sample_steps=10,
        guidance_scale=3.0,
        batch_size=settings.per_call,
    )
    verifier = Verifier(denoiser, VerifyPlan(settings.seed, VERIFY_SAMPLES, VERIFY_STEPS, settings.per_call))
    return WordsSearch(denoiser, verifier, training, plan)


def check_words_budget(settings: DiscoverSettings, denoiser: Denoiser) -> None:
    """Refuse a budget that does not pay for the words of one finding.

    Raises:
        SettingsError: it is too small.
    """
    least = words_search(denoiser, None, settings).most_evaluations
    if settings.words_budget < least:
        raise SettingsError(
            f"--words-budget {settings.words_budget} does not pay for the words of one finding, which take up to "
            f"{least} denoiser evaluations; give at least as many, or 0 for none"
        )


def search_words(session: DiscoverySession, state: SearchState) -> dict[int, Words]:
    """Search words for findings, the surest first, until the budget is spent; by number of the finding.

    What was found before is read from the disk, and counts as spent: less budget gives what a new search would.
    """
    settings, found = session.settings, dict[int, Words]()
    if not settings.words_budget:
        return found
    search = words_search(session.denoiser, session.training, settings)
    depends_on = {"discovery": session.run.record["identity"], "words": search.plan.identity}
    folder, identity = session.run.path / DISCOVERY_DIRECTORY, kept_identity(depends_on, session.training)
    store = FindingStore(folder, "words", Words, identity)
    batches = ShrinkingBatches(settings.per_call, "words")
    for number in surest_first(state):
        image = state.discoveries[number].image
        spent = sum(words.evaluations for words in found.values())
        left = settings.words_budget - spent
        kept = store.load(finding_id(number), image) if settings.images else None
        if left < search.most_evaluations or (kept is None and session.is_over):
            logger.info("words for %d of %d findings; the limit is spent", len(found), len(surest_first(state)))
            break
        if kept is None:
            started = time.monotonic()
            with session.progress("words", settings.words_budget, spent):
                kept = batches.call(partial(_find, session, image, finding_id(number)))
            session.on_words += time.monotonic() - started
        found[number] = kept
        if settings.images:
            store.save(finding_id(number), image, kept)
            _save_image(session, number, kept)
        show_words(session, number, kept)
    return found


def _find(session: DiscoverySession, image: RgbImage, key: str, batch_size: int) -> Words:
    settings = session.settings.model_copy(update={"batch_size": batch_size})
    return words_search(session.denoiser, session.training, settings).find(image, key)


def confirm_by_words_(state: SearchState, found: Mapping[int, Words]) -> frozenset[int]:
    """Confirm likely findings whose words' plain samples are confirmed; return their numbers.

    A finding whose words show the image of a confirmed one stays likely: it is no further image.
    """
    shown = [discovery.image for discovery in state.discoveries if discovery.outcome.verdict == CONFIRMED]
    raised = set()
    for number, words in found.items():
        discovery = state.discoveries[number]
        if words.verdict != CONFIRMED or words.score is None or words.score < CONFIRMS_AT:
            continue
        if discovery.outcome.verdict == CONFIRMED or is_near_any(words.image, shown, REPLICATION_DISTANCE):
            continue
        state.discoveries[number] = replace(discovery, outcome=replace(discovery.outcome, verdict=CONFIRMED))
        shown.append(words.image)
        raised.add(number)
    return frozenset(raised)


def _save_image(session: DiscoverySession, number: int, words: Words) -> None:
    if words.text is not None:
        metadata = {"strategy": "discover", "prompt": words.text, "fingerprint": session.loaded.fingerprint}
        save_image(session.run.path / words_image_name(number), words.image, metadata)
