"""Score candidates with every detector and flag them; of a fine-tune, by what its training added to the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flashbulb.audit.detectors import Detector, NeuronDetector, StepDetector, Vector
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.bulk import BulkFit
from flashbulb.audit.statistics.flags import Scored, flagged_at
from flashbulb.audit.statistics.scores import (
    GroupScores,
    combine,
    score_group,
    score_neurons,
    score_recorded,
    scored_kinds,
    spike_column,
)
from flashbulb.audit.statistics.style import group_by_style, text_only_auc
from flashbulb.hooks import Site

_MAX_TEXTS = 4000  # of a set, to measure its style


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """A set of prompts and its shards."""

    texts: Sequence[str]
    shards: Shards


class BaseShards(NamedTuple):
    """The candidates and the reference prompts, recorded on the base model."""

    candidates: Shards
    reference: Shards | None


@dataclass(frozen=True, slots=True)
class Detected:
    """Scores and flags, and how far in style the candidates are from the reference.

    Args:
        style_shift: AUC of a text-only classifier of candidates against reference: 0.5 is the same style; None
            without a reference or with too few prompts.
        pooled: candidates helped to fit the baseline, because there is no reference or its style differs.
        base_groups: the groups of `scored` as the base scores them; empty without a base.
    """

    scored: Scored
    style_shift: float | None
    pooled: bool
    base_groups: tuple[GroupScores, ...] = ()


def detect(
    sites: Sequence[Site],
    detectors: Sequence[Detector],
    candidates: RecordedSet,
    reference: RecordedSet | None,
    *,
    n_components: int,
    fpr: float,
    max_style_shift: float,
    seed: int,
    all_texts: Sequence[str],
    base: BaseShards | None,
    bulk: BulkFit | None,
) -> Detected:
    """Score and flag every candidate.

    A reference of the candidates' style makes the baseline alone. Without one, or where a text-only classifier
    separates the two sets with an AUC above `max_style_shift`, candidates help to fit it.

    Args:
        all_texts: the candidates' texts and those that tier 0 left out, whose style counts as well.
        base: the same prompts recorded on the base model, if there is one. Each model is whitened by its own
            baselines, and the scores are subtracted in one unit, that of the audited model.
        bulk: the baselines by which candidates were reduced when they were recorded; None where all are dense.

    Raises:
        BulkError: candidates would help to fit the baselines, and those of `bulk` were fitted without them, or the
            other way round.
    """
    shift, pooled = choose_pooled(all_texts, None if reference is None else reference.texts, max_style_shift, seed)
    if bulk is not None:
        bulk.refuse_other(pooled)
    clean = reference.shards if reference is not None else None

    def score(scored: Shards, calibrating: Shards | None) -> list[GroupScores]:
        return [
            score_group(kind, sites, scored, calibrating, n_components=n_components, pooled=pooled)
            for kind in scored_kinds(sites)
        ]

    if bulk is None:
        groups = score(candidates.shards, clean)
    else:
        groups = [score_recorded(fit, candidates.shards) for fit in bulk.groups]
    base_groups = [] if base is None else score(base.candidates, base.reference)
    base_scores = combine(base_groups, scale=groups) if base_groups else None
    columns = {spike_column(group.kind): group.candidates for group in groups}
    columns |= _detector_columns(sites, detectors, candidates.shards, clean, bulk)
    styles = group_by_style(reference.texts if reference is not None else [], candidates.texts)
    n_left_out = len(all_texts) - len(candidates.texts)
    scored = flagged_at(groups, columns, combine(groups), styles, fpr, base_scores, n_left_out)
    return Detected(scored, shift, pooled, tuple(base_groups))


def _detector_columns(
    sites: Sequence[Site],
    detectors: Sequence[Detector],
    candidates: Shards,
    reference: Shards | None,
    bulk: BulkFit | None,
) -> dict[str, Vector]:
    """Return the scores of published detectors that need no images, by name: [prompt] each."""
    columns: dict[str, Vector] = {}
    at_step = candidates.detector_scores([d.name for d in detectors if isinstance(d, StepDetector)])
    for detector in detectors:
        if isinstance(detector, NeuronDetector) and any(site.kind == detector.kind for site in sites):
            if bulk is None:
                columns[detector.name] = score_neurons(detector, sites, candidates, reference)
            else:
                columns[detector.name] = bulk.score_neurons(detector, sites, candidates)
        elif isinstance(detector, StepDetector):
            columns[detector.name] = at_step[detector.name]
    return columns


def choose_pooled(
    candidates: Sequence[str], reference: Sequence[str] | None, max_style_shift: float, seed: int
) -> tuple[float | None, bool]:
    """Return the style shift, None if it is not measured, and whether candidates help to fit the baselines."""
    shift = None if reference is None else _style_shift(candidates, reference, seed)
    return shift, reference is None or (shift is not None and shift > max_style_shift)


def _style_shift(candidates: Sequence[str], reference: Sequence[str], seed: int) -> float | None:
    """Measure the style shift, between random parts of the sets where they are large."""
    rng = np.random.default_rng(seed)
    parts = []
    for texts in (candidates, reference):
        chosen = rng.permutation(len(texts))[:_MAX_TEXTS]
        parts.append([texts[int(i)] for i in chosen])
    return text_only_auc(parts[0], parts[1], seed)
