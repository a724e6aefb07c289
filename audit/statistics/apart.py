"""Score prompts apart: with the baselines and null distributions of an audit, in which they have no part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from flashbulb.audit.detectors import Vector
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.statistics.baseline import mean_spike_scores
from flashbulb.audit.statistics.calibration import p_values
from flashbulb.audit.statistics.detection import Detected
from flashbulb.audit.statistics.flags import DIFFERENCE_ORIGIN
from flashbulb.audit.statistics.scores import GroupScores, combine
from flashbulb.audit.statistics.style import nearest_style


class PromptsApart(NamedTuple):
    """Prompts to score apart, their shards, and those on the base model; None without one."""

    texts: Sequence[str]
    shards: Shards
    base_shards: Shards | None


class ScoredApart(NamedTuple):
    """Spike scores and p-values, [prompt] each."""

    spike_score: Vector
    p_value: Vector


def score_apart(
    detected: Detected, apart: PromptsApart, reference: Sequence[str], candidates: Sequence[str]
) -> ScoredApart:
    """Score prompts as `detected` scores its candidates; each is compared with prompts of the nearest style.

    Args:
        reference, candidates: the texts that `detected` was computed from.
    """
    scored = detected.scored
    score, _ = combine([_scored(group, apart.shards) for group in scored.groups], scale=scored.groups)
    origin = 0.0
    if apart.base_shards is not None:
        base = [_scored(group, apart.base_shards) for group in detected.base_groups]
        score, origin = score - combine(base, scale=scored.groups)[0], DIFFERENCE_ORIGIN
    known_styles = np.concatenate([scored.reference_style, scored.style])
    styles = nearest_style(apart.texts, [*reference, *candidates], known_styles)
    p = np.empty(len(score))
    for number, style in enumerate(scored.styles):
        members = styles == number
        p[members] = p_values(score[members] + origin, style.null)
    return ScoredApart(score, p)


def _scored(group: GroupScores, shards: Shards) -> GroupScores:
    """Return the group with the scores of other prompts: the mean over its baselines, none of which they made."""
    scores = [mean_spike_scores(matrix, group.baselines) for matrix in shards.matrices(group.columns)]
    return replace(group, candidates=np.concatenate(scores))
