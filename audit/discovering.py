"""Wire a discovery: load a model, search it round by round, keep every round on disk, and write what was found."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from audit.account import display_name, library_versions
from audit.checks import check_training_images
from audit.config import DiscoverSettings, SettingsError
from audit.denoiser import Denoiser
from audit.denormals import flushed_denormals
from audit.discovery_output import (
    DiscoverySession,
    save_finding,
    show_finding,
    write_discovery_results,
    write_recoveries,
)
from audit.loading import LoadedModel, load_model
from audit.recover.discover import Discovery, Search, SearchState, cost_of_start
from audit.recover.search_store import SearchStore
from audit.recover.verify import Verifier
from audit.recovery_settings import search_plan, search_verify_plan
from audit.replay import Replay
from audit.rundir import RunDirectory, fingerprint_of
from audit.scoring import columns_of
from audit.session import device_of, dtype_of, training_images_of
from hooks import find_sites
from reports.console import SummaryConsole
from reports.discovery import DiscoveryRecord, StopReason
from reports.files import DISCOVERY_DIRECTORY
from reports.run_record import DISCOVERY_RUNNING

logger = logging.getLogger(__name__)

_NOT_IN_IDENTITY = {
    *("model", "out"),  # known by its hash, or where results go
    *("budget", "minutes", "patience"),  # when a search ends; with more of them it goes on
    *("device", "allow_pickle", "batch_size", "checkpointing", "descriptor_weights"),
}


def run_discovery(
    settings: DiscoverSettings, *, force: bool, replayed: Replay[DiscoverSettings] | None = None
) -> DiscoveryRecord:
    """Search a model for memorized pictures until the budget is spent or nothing new comes; an earlier try goes on.

    Findings are printed as they are verified; the tables are written after each round that brought some.

    Raises:
        one of `audit.stages.USAGE_ERRORS` for a mistake in the inputs, and NonFiniteActivation.
    """
    if settings.budget is None and settings.minutes is None:
        raise SettingsError("a discovery needs an end; give --budget in UNet evaluations, --minutes, or both")
    check_training_images(settings)
    started = time.monotonic()
    device = device_of(settings.device)
    dtype = dtype_of(settings.dtype, device)
    loaded = load_model(settings.model, device=device, dtype=dtype, allow_pickle=settings.allow_pickle)
    denoiser = Denoiser(loaded.pipe)
    _check_budget(settings, denoiser)
    identity = _identity(settings, loaded)
    if replayed is not None:
        replayed.compare_inputs(identity)
    run = RunDirectory.open(settings.out, identity, force=force)
    run.update(status=DISCOVERY_RUNNING)
    training = training_images_of(settings, denoiser)
    console = SummaryConsole()
    session = DiscoverySession(settings, loaded, denoiser, training, run, console, started)
    logger.info("%s (%s, %s on %s)", display_name(settings.model), loaded.fingerprint, loaded.dtype, loaded.device)
    with flushed_denormals():
        return _search(session)


def _check_budget(settings: DiscoverSettings, denoiser: Denoiser) -> None:
    of_start = cost_of_start(search_plan(settings), Verifier(denoiser, search_verify_plan(settings)))
    least = settings.n_reference + of_start
    if settings.budget is not None and settings.budget < least:
        raise SettingsError(
            f"--budget {settings.budget} does not pay for one start: neutral captions take {settings.n_reference} UNet "
            f"evaluations and a start up to {of_start}; give at least {least}"
        )


def _search(session: DiscoverySession) -> DiscoveryRecord:
    settings, run = session.settings, session.run
    sites = find_sites(session.denoiser.pipe, [settings.kind])
    verifier = Verifier(session.denoiser, search_verify_plan(settings))
    columns = columns_of(settings.kind, sites)
    search = Search(session.denoiser, columns, verifier, session.training, search_plan(settings))
    store = SearchStore(run.path / DISCOVERY_DIRECTORY, fingerprint_of(run.record["identity"]))
    state = store.load(search.begin())
    for i, discovery in enumerate(state.discoveries):
        show_finding(session, discovery, i)
    session.prepared = time.monotonic() - session.started
    rounds = search.rounds(state, settings.budget if settings.budget is not None else sys.maxsize)
    while not session.is_over:
        began, n_directions = time.monotonic(), len(state.found)
        new = next(rounds, None)
        if new is None:
            break
        state.seconds += time.monotonic() - began
        _keep_round(session, store, state, new, n_directions)
    stopped: StopReason = "nothing_new" if state.barren >= settings.patience else "budget"
    return write_discovery_results(session, state, stopped)


def _keep_round(
    session: DiscoverySession, store: SearchStore, state: SearchState, new: list[Discovery], n_directions: int
) -> None:
    """Keep what the round that `state` has just finished found; before it there were `n_directions`."""
    n_before = len(state.discoveries) - len(new)
    for i, discovery in enumerate(new, start=n_before):
        save_finding(session, discovery, i)
        show_finding(session, discovery, i)
    if session.settings.images:
        store.save(state, new, n_directions)
    if new:
        write_recoveries(session, state)
    logger.info(
        "round %d: %d new, %d in all, %d UE", state.n_rounds, len(new), len(state.discoveries), state.evaluations
    )


def _identity(settings: DiscoverSettings, loaded: LoadedModel) -> dict[str, Any]:
    return {
        "model_fingerprint": loaded.fingerprint,
        "dtype": loaded.dtype,
        "device": loaded.device,
        "settings": {"command": "discover", **settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY)},
        "versions": library_versions(),
    }
