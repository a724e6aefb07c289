"""Tier 0: leave out prompts that the text side alone clears, without a denoiser evaluation.

Memorized prompts also spike in the text encoder and in the cross-attention keys and values, though less clearly than in
the denoiser. Prompts that score below a chosen quantile of the reference are left out of the later tiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flashbulb.audit.detectors import Vector
from flashbulb.audit.prompts.prompt_set import Prompt
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.record.recorder import Recorder
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.progress import track
from flashbulb.audit.statistics.baseline import Baseline, fit_baseline
from flashbulb.audit.statistics.scores import columns_of, score_group, scored_kinds, spike_scores
from flashbulb.hooks import PROMPT_SITE_KINDS, Site


@dataclass(frozen=True, slots=True)
class Screen:
    """What tier 0 learnt from the reference, one entry per kind of prompt site.

    Args:
        columns: columns of activations that are scored.
        baselines: fitted on the complete reference.
        units: 99th percentile of the reference's spike scores, by which scores are divided.
        threshold: smallest tier-0 score with which a prompt reaches the next tier.
    """

    columns: tuple[Columns, ...]
    baselines: tuple[Baseline, ...]
    units: tuple[float, ...]
    threshold: float


def fit_screen(sites: Sequence[Site], reference: Shards, *, n_components: int, share: float) -> Screen:
    """Fit the screen on the reference; its threshold is the `share` quantile of the reference's tier-0 scores.

    Raises:
        ValueError: no prompt site is recorded.
    """
    kinds = [kind for kind in scored_kinds(sites) if kind in PROMPT_SITE_KINDS]
    if not kinds:
        raise ValueError(f"tier 0 reads {', '.join(sorted(PROMPT_SITE_KINDS))}; record at least one of them")
    columns, baselines, units, scores = [], [], [], []
    for kind in kinds:
        group = score_group(kind, sites, reference, None, n_components=n_components, pooled=True)
        columns.append(columns_of(kind, sites))
        baselines.append(fit_baseline(reference.matrix(columns[-1]), n_components))
        units.append(max(float(np.quantile(group.candidates, 0.99)), 1e-9))
        scores.append(group.candidates / units[-1])
    threshold = float(np.quantile(np.mean(scores, axis=0), share))
    return Screen(tuple(columns), tuple(baselines), tuple(units), threshold)


def screen_prompts(screen: Screen, recorder: Recorder, prompts: Sequence[Prompt]) -> Vector:
    """Return the tier-0 score of each prompt, the mean over kinds of prompt site, at no UE: [prompt]."""
    scores = []
    size = recorder.plan.batch_size
    with track("screening", len(prompts), "prompts") as advance:
        for start in range(0, len(prompts), size):
            texts = [prompt.text for prompt in prompts[start : start + size]]
            rows, _ = recorder.record_prompt_sites(texts)
            scores_by_kind = [
                spike_scores(columns.join({name: rows[name].numpy() for name in columns.names}), [baseline]) / unit
                for columns, baseline, unit in zip(screen.columns, screen.baselines, screen.units, strict=True)
            ]
            scores.append(np.mean(scores_by_kind, axis=0))
            advance(len(texts))
    return np.concatenate(scores) if scores else np.zeros(0)
