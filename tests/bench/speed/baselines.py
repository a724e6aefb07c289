"""Baselines of no reference, for the cost of scoring: it depends on how many neurons and components there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.settings import AuditSettings
from flashbulb.audit.statistics.baseline import Baseline
from flashbulb.audit.statistics.bulk import BulkFit, save_bulk
from flashbulb.audit.statistics.reduced import BulkReduction
from flashbulb.audit.statistics.scores import SPIKE_SCORE_KIND, GroupFit, columns_of, scored_kinds
from flashbulb.audit.statistics.screening import Screen
from flashbulb.audit.statistics.spikes import Kept
from flashbulb.hooks import PROMPT_SITE_KINDS

_KEPT = Kept(50, SPIKE_SCORE_KIND, 50)


def screen_of(denoiser: Denoiser) -> Screen:
    """Return what tier 0 scores a model's prompts by."""
    sites = denoiser.sites(denoiser.site_kinds())
    columns = tuple(columns_of(kind, sites) for kind in scored_kinds(sites) if kind in PROMPT_SITE_KINDS)
    return Screen(columns, tuple((_baseline(own),) for own in columns), (1.0,) * len(columns), 0.0)


def reduction_of(denoiser: Denoiser, path: Path, n_seeds: int) -> BulkReduction:
    """Write what shards of the bulk layout are reduced by, and return it."""
    sites = denoiser.sites(denoiser.site_kinds())
    groups = tuple(
        GroupFit(kind, own, None, (_baseline(own),))
        for kind in scored_kinds(sites)
        for own in [columns_of(kind, sites)]
    )
    save_bulk(path, BulkFit(groups, {}, tuple(sites), n_seeds, False, _KEPT), "bench")
    return BulkReduction.by(path)


def _baseline(columns: Columns) -> Baseline:
    n_components = AuditSettings.model_fields["n_components"].default
    components = np.random.default_rng(0).standard_normal((n_components, columns.n_neurons), dtype=np.float32)
    components /= np.linalg.norm(components, axis=1, keepdims=True)
    return Baseline(
        np.full(columns.n_neurons, 0.3, np.float32), np.full(columns.n_neurons, 0.2, np.float32), components
    )
