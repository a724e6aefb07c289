"""Run a discovery: search a model for memorized images round by round, save every round, and write the findings."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from flashbulb.audit.additions.chosen import chosen_model, load_chosen, model_name
from flashbulb.audit.ascent.climb import ClimbPlan
from flashbulb.audit.discover.findings import findings_of
from flashbulb.audit.discover.search import Search, SearchPlan, cost_of_start
from flashbulb.audit.discover.state import SearchState
from flashbulb.audit.discover.store import SearchStore
from flashbulb.audit.discover.text_ascents import LEARNING_RATE, STEPS, TextPlan
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import LoadedModel
from flashbulb.audit.prompts.prompt_set import PromptSet, read_prompts
from flashbulb.audit.recover.verify import Verifier, VerifyPlan
from flashbulb.audit.run.directory import RunDirectory
from flashbulb.audit.run.torch_state import computing, torch_as_started
from flashbulb.audit.settings import DiscoverSettings, SettingsError
from flashbulb.audit.settings.checks import check_training_images
from flashbulb.audit.stages.claim import former_results
from flashbulb.audit.stages.kept.identity import command_identity
from flashbulb.audit.stages.kept.replay import Replay
from flashbulb.audit.stages.opening.examine import examine_model
from flashbulb.audit.stages.opening.session import load_training_images
from flashbulb.audit.stages.results.closing import Closing, familiarity_rank
from flashbulb.audit.stages.results.discovery import write_discovery_results, write_recoveries
from flashbulb.audit.stages.results.findings import (
    DiscoverySession,
    clear_findings,
    kept_identity,
    save_finding,
    show_finding,
)
from flashbulb.audit.stages.results.words import check_words_budget, confirm_by_words_, search_words
from flashbulb.audit.statistics.scores import columns_of
from flashbulb.reports.tables.files import (
    CURVE_FILE,
    DISCOVERY_DIRECTORY,
    EVIDENCE_FILE,
    MATCHES_DIRECTORY,
    RECOVERIES_FILE,
)
from flashbulb.reports.tables.run_record import DISCOVERY_RUNNING
from flashbulb.reports.views.discovery import DiscoveryRecord, StopReason
from flashbulb.reports.views.terminal import SummaryConsole

logger = logging.getLogger(__name__)


@torch_as_started()
def run_discovery(
    settings: DiscoverSettings, *, force: bool, replayed: Replay[DiscoverSettings] | None = None
) -> DiscoveryRecord:
    """Search a model for memorized images until the budget is spent or further rounds find nothing new.

    An interrupted search is resumed. Findings are printed as they are verified; the tables are written after each
    round with findings.

    Raises:
        one of `USAGE_ERRORS` or SettingsError: a mistake in the inputs, or limits that leave no round.
        NonFiniteActivation: an activation of the model is not finite.
    """
    if settings.budget is None and settings.minutes is None:
        raise SettingsError("a discovery needs a limit; give --budget (denoiser evaluations), --minutes, or both")
    check_training_images(settings)
    started = time.monotonic()
    texts = read_prompts(settings.starts_from) if settings.starts_from is not None else None
    loaded = load_chosen(chosen_model(settings), settings.device, settings.dtype)
    denoiser = open_denoiser(loaded.pipe, settings.clip_skip)
    denoiser.require("discover")
    _check_budget(settings, denoiser)
    if settings.words_budget:
        check_words_budget(settings, denoiser)
    identity = _identity(settings, loaded, texts)
    if replayed is not None:
        replayed.compare_inputs(identity)
    RunDirectory.examine(settings.out, identity, force=force)  # before anything takes long
    examine_model(settings, denoiser, ())
    training = load_training_images(settings, denoiser)
    former = former_results(RECOVERIES_FILE, CURVE_FILE, EVIDENCE_FILE)
    with RunDirectory.open(settings.out, identity, force=force, former=former) as run:
        run.update(status=DISCOVERY_RUNNING)
        if training is not None and settings.images:
            training.keep_matches(run.path / MATCHES_DIRECTORY)
        console = SummaryConsole()
        session = DiscoverySession(settings, loaded, denoiser, training, texts, run, console, started)
        logger.info("%s (%s, %s on %s)", model_name(settings), loaded.fingerprint, loaded.dtype, loaded.device)
        with computing():
            return _search(session)


def _check_budget(settings: DiscoverSettings, denoiser: Denoiser) -> None:
    plan, verifier = search_plan(settings), Verifier(denoiser, search_verify_plan(settings))
    bare_plan = replace(plan, text=replace(plan.text, n_per_start=0))
    start_cost, bare_cost = cost_of_start(plan, verifier), cost_of_start(bare_plan, verifier)
    least = settings.n_reference + start_cost
    if settings.budget is not None and settings.budget < least:
        bare = f", or {settings.n_reference + bare_cost} with --text-starts 0" if settings.text_starts else ""
        raise SettingsError(
            f"--budget {settings.budget} does not pay for one start: neutral prompts take {settings.n_reference} "
            f"denoiser evaluations and a start up to {start_cost}; give at least {least}{bare}"
        )


def _search(session: DiscoverySession) -> DiscoveryRecord:
    settings, run = session.settings, session.run
    sites = session.denoiser.sites([settings.kind])
    verifier = Verifier(session.denoiser, search_verify_plan(settings))
    columns = columns_of(settings.kind, sites)
    texts = session.texts.prompts.texts if session.texts is not None else []
    with session.progress("searching", settings.budget, 0):
        search = Search(session.denoiser, columns, verifier, session.training, texts, search_plan(settings))
    store = SearchStore(run.path / DISCOVERY_DIRECTORY, kept_identity(run.record["identity"], session.training))
    state, closing = search.begin(), Closing(session)
    clear_findings(session)  # images of an earlier run, whose looks and budgets may have been others
    while _next_round(session, search, store, state, closing):
        closing.after_round_(state)
        write_recoveries(session, closing.judged(state))
    stopped = _why_stopped(search, state, settings.patience)
    closing.finish_(state)
    judged = closing.judged(state)
    words = search_words(session, judged)
    raised = confirm_by_words_(judged, words) if session.training is None else frozenset()
    return write_discovery_results(session, judged, stopped, closing.counts, words, raised)


def _next_round(
    session: DiscoverySession, search: Search, store: SearchStore, state: SearchState, closing: Closing
) -> bool:
    """Read the next round of an earlier run, or search it; return False at the end of the search.

    A round of an earlier run that these limits do not pay for stays on the disk, for a run with higher ones.
    """
    n_before, n_directions = len(state.discoveries), len(state.found)
    budget = closing.budget_of_rounds(state)
    if session.settings.images and (kept := store.next_round(state)) is not None:
        if budget is not None and kept.evaluations > budget:
            return False
        kept.add_to_(state)
    else:
        session.prepared = session.prepared or time.monotonic() - session.started
        if session.is_over:
            _refuse_no_round(session, state)
            return False
        started = time.monotonic()
        spent = state.evaluations + closing.evaluations
        with session.progress("searching", session.settings.budget, spent):
            found = next(search.rounds(state, budget), None)
        if found is None:
            return False
        state.seconds += time.monotonic() - started
        if session.settings.images:
            store.save(state, n_before, n_directions)
    for i in findings_of(state):
        if i >= n_before:
            save_finding(session, state.discoveries[i], i)
            show_finding(session, state.discoveries[i], i)
    now = closing.judged(state)
    logger.info("round %d: %d findings in total, %d UE", now.n_rounds, len(findings_of(now)), now.evaluations)
    return True


def _refuse_no_round(session: DiscoverySession, state: SearchState) -> None:
    """Refuse a time limit that was over before the first round: nothing was searched, so nothing can be said."""
    if state.n_rounds == 0:
        raise SettingsError(
            f"--minutes {session.settings.minutes:g} were over before the first round, for which loading and preparing "
            f"the model took {session.prepared / 60:.2g} minutes; give more"
        )


def _why_stopped(search: Search, state: SearchState, patience: int) -> StopReason:
    if state.barren >= patience:
        return "nothing_new"
    return "little_left" if search.is_exhausted(state) else "budget"


def _identity(settings: DiscoverSettings, loaded: LoadedModel, texts: PromptSet | None) -> dict[str, Any]:
    starts_from = {} if texts is None else {"starts_from_sha256": texts.sha256}
    return {**command_identity("discover", settings, loaded), **starts_from}


def search_plan(settings: DiscoverSettings) -> SearchPlan:
    """Return how the search climbs, and when it stops."""
    climb = ClimbPlan(
        n_steps=settings.steps,
        learning_rate=settings.learning_rate,
        radius=settings.radius,
        variable="token_embeddings",
        batch_size=settings.per_call,
        checkpointing=settings.checkpointing,
    )
    return SearchPlan(
        run_seed=settings.seed,
        num_inference_steps=settings.num_inference_steps,
        n_reference=settings.n_reference,
        n_components=settings.n_components,
        n_starts=settings.n_starts,
        seen_share=settings.seen_share,
        n_highest=settings.n_highest,
        n_candidates=settings.n_candidates,
        patience=settings.patience,
        stop_at=settings.stop_at,
        climb=climb,
        text=TextPlan(
            settings.text_starts,
            replace(climb, n_steps=STEPS, learning_rate=LEARNING_RATE),
            familiarity_rank(settings.seed, n_noises=1),
        ),
    )


def search_verify_plan(settings: DiscoverSettings) -> VerifyPlan:
    """Return how what the search reaches is verified."""
    return VerifyPlan(settings.seed, settings.n_samples, settings.sample_steps, settings.per_call)
