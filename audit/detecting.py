"""Detect: from the recorded sets to scores, p-values and flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audit.detectors import Detector, NeuronDetector, StepDetector
from audit.flagging import Scored, flagged_at
from audit.scoring import Vector, combine, score_groups, score_neurons
from audit.shards import Shards
from audit.style import group_by_style, text_only_auc
from hooks import Site

_MAX_TEXTS = 4000  # of a set, to measure its style


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """A set of prompts and its shards."""

    texts: Sequence[str]
    shards: Shards


@dataclass(frozen=True, slots=True)
class Detected:
    """Scores and flags, and how far in style the candidates are from the reference.

    Args:
        style_shift: AUC of a classifier that sees words alone between candidates and reference: 0.5 is the same
            style; None without a reference or with too few prompts.
        pooled: candidates helped to learn the baseline, because there is no reference or its style is another.
    """

    scored: Scored
    style_shift: float | None
    pooled: bool


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
    all_texts: Sequence[str] | None = None,
) -> Detected:
    """Score and flag every candidate.

    `all_texts` are the candidates' texts with those that tier 0 left out, whose style counts as well.

    With a reference of the candidates' style, the reference alone says what is usual. Without one, or where words
    alone tell the two sets apart with an AUC above `max_style_shift`, the candidates help.
    """
    texts = candidates.texts if all_texts is None else all_texts
    shift = _style_shift(texts, reference.texts, seed) if reference is not None else None
    pooled = reference is None or (shift is not None and shift > max_style_shift)
    of_reference = reference.shards if reference is not None else None
    groups = score_groups(sites, candidates.shards, of_reference, n_components=n_components, pooled=pooled)
    columns: dict[str, Vector] = {f"spikes_{group.kind}": group.candidates for group in groups}
    for detector in detectors:
        if isinstance(detector, NeuronDetector) and any(site.kind == detector.kind for site in sites):
            columns[detector.name] = score_neurons(detector, sites, candidates.shards, of_reference)
        elif isinstance(detector, StepDetector):
            columns[detector.name] = candidates.shards.measured(detector.name)
    styles = group_by_style(reference.texts if reference is not None else [], candidates.texts)
    return Detected(flagged_at(groups, columns, combine(groups), styles, fpr), shift, pooled)


def _style_shift(candidates: Sequence[str], reference: Sequence[str], seed: int) -> float | None:
    """Between random parts of the sets, where they are large."""
    rng = np.random.default_rng(seed)
    parts = []
    for texts in (candidates, reference):
        chosen = rng.permutation(len(texts))[:_MAX_TEXTS]
        parts.append([texts[int(i)] for i in chosen])
    return text_only_auc(parts[0], parts[1], seed)
