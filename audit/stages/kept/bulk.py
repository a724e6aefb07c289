"""The bulk layout of a run: choose it, fit its baselines before candidates are recorded, and open them again."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from flashbulb.audit.detectors import NeuronDetector
from flashbulb.audit.record.recorder import Plan, Recorded
from flashbulb.audit.record.reduction import BASELINES_FILE, BULK
from flashbulb.audit.record.sets import Part
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.stages.results.state import Inputs
from flashbulb.audit.statistics.bulk import BulkFit, fit_bulk, holds_bulk, open_bulk, save_bulk
from flashbulb.audit.statistics.detection import choose_pooled
from flashbulb.audit.statistics.reduced import BulkReduction
from flashbulb.audit.statistics.scores import MAX_SELF_REFERENCE
from flashbulb.audit.statistics.spikes import Kept
from flashbulb.reports.tables.files import link_first, link_whole

logger = logging.getLogger(__name__)

MOST_DENSE = 20_000
"""Candidate prompts up to which --layout auto keeps all activations."""


def settle_layout(settings: AuditSettings, n_candidates: int) -> AuditSettings:
    """Replace --layout auto by what the number of candidate prompts asks for; with a base always by dense."""
    if settings.layout != "auto":
        return settings
    is_bulk = n_candidates > MOST_DENSE and settings.baseline_model is None
    return settings.model_copy(update={"layout": BULK if is_bulk else "dense"})


def kept_neurons(settings: AuditSettings) -> Kept:
    """Return which neurons of a prompt detection and recovery read."""
    return Kept(settings.n_top_neurons, settings.ascend_kind, settings.ascend_neurons)


def candidates_fit(inputs: Inputs) -> bool:
    """Return whether candidates help to fit the baselines."""
    reference = None if inputs.reference is None else inputs.reference.prompts.texts
    return choose_pooled(inputs.all_texts, reference, inputs.settings.max_style_shift, inputs.settings.seed)[1]


def count_dense_shards(inputs: Inputs, plan: Plan, *, pooled: bool) -> int:
    """Return how many of the first shards of candidates are dense: those that help to fit the baselines."""
    n_dense = min(MAX_SELF_REFERENCE, len(inputs.candidates.prompts)) if pooled else 0
    return math.ceil(n_dense / plan.shard_size)


def bulk_reduction(
    inputs: Inputs,
    detectors: Sequence[NeuronDetector],
    folder: Path,
    fingerprint: str,
    reference: Recorded | None,
    n_dense: int,
    part: Part,
) -> BulkReduction:
    """Return the reduction of a set's shards, by baselines that are fitted unless they have been before.

    The parts of a run use the same file, that of the part that came first.

    Args:
        folder: of the candidates; their first `n_dense` shards are recorded.
        fingerprint: of its shards.
    """
    path = folder / BASELINES_FILE
    shared = path if part.of == 1 else folder.parents[2] / f"{fingerprint}-{BASELINES_FILE}"
    is_held = holds_bulk(path, fingerprint)
    if not is_held and shared != path and holds_bulk(shared, fingerprint):
        link_whole(shared, path)
        is_held = True
    if not is_held:
        settings = inputs.settings
        fit = fit_bulk(
            inputs.sites,
            detectors,
            None if reference is None else Shards(reference.folder, reference.n_shards, settings.n_seeds),
            Shards(folder, n_dense, settings.n_seeds) if n_dense else None,
            n_seeds=settings.n_seeds,
            n_components=settings.n_components,
            kept=kept_neurons(settings),
        )
        save_bulk(path, fit, fingerprint)
        logger.info("activations are reduced by the baselines in %s", path)
    if shared != path:
        _share(path, shared, fingerprint)
    return BulkReduction.by(path)


def _share(path: Path, shared: Path, fingerprint: str) -> None:
    """Hand the file to the other parts, or take that of the part that came first, unless it is damaged."""
    if link_first(path, shared):
        return
    if holds_bulk(shared, fingerprint):
        link_whole(shared, path)
    else:
        link_whole(path, shared)


def open_fit(inputs: Inputs, candidates: Recorded) -> BulkFit | None:
    """Return the baselines by which the candidates were reduced; None where they are dense."""
    return open_bulk(candidates.folder / BASELINES_FILE) if inputs.settings.layout == BULK else None


def refuse_unkept(inputs: Inputs, candidates: Recorded) -> None:
    """Refuse settings that ask more of reduced candidates than they hold.

    Raises:
        BulkError: other neurons are asked for, or baselines that candidates help to fit or no longer do.
    """
    fit = open_fit(inputs, candidates)
    if fit is not None:
        fit.refuse_more(kept_neurons(inputs.settings))
        fit.refuse_other(candidates_fit(inputs))
