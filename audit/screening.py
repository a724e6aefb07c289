"""Tier 0: let the text side alone say which prompts need no UNet.

Memorized prompts spike in the text encoder and in the cross-attention keys and values too, if less clearly than in the
UNet. Prompts that look calmer there than most reference prompts are left out of the audit's later tiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audit.baseline import Baseline, fit_baseline, z_scores
from audit.detectors.spikes import SCORED_REDUCTIONS, spike_scores
from audit.progress import track
from audit.prompts import Prompt
from audit.recording import Recorder
from audit.scoring import columns_of, score_group
from audit.shards import Column, Shards
from hooks import PROMPT_SITE_KINDS, Site

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Screen:
    """How tier 0 judges: baselines of the prompt sites, their units, and the score from which a prompt goes on."""

    columns: tuple[tuple[Column, ...], ...]
    baselines: tuple[Baseline, ...]
    units: tuple[float, ...]
    threshold: float


def fit_screen(sites: Sequence[Site], reference: Shards, *, n_components: int, share: float) -> Screen:
    """Learn from the reference; a prompt is left out where it scores below the `share` quantile of the reference.

    Raises:
        ValueError: no prompt site is recorded.
    """
    kinds = [k for k in SCORED_REDUCTIONS if k in PROMPT_SITE_KINDS and any(site.kind == k for site in sites)]
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
    """The tier-0 score of each prompt, without any UNet evaluation: [prompt]."""
    scores = []
    size = recorder.plan.batch_size
    with track("screening", len(prompts), "prompts") as advance:
        for start in range(0, len(prompts), size):
            texts = [prompt.text for prompt in prompts[start : start + size]]
            rows, _ = recorder.record_prompt_sites(recorder.denoiser.tokenize(texts))
            of_kind = [
                spike_scores(z_scores(np.concatenate([rows[c.name].numpy() for c in columns], axis=1), baseline)) / unit
                for columns, baseline, unit in zip(screen.columns, screen.baselines, screen.units, strict=True)
            ]
            scores.append(np.mean(of_kind, axis=0))
            advance(len(texts))
    return np.concatenate(scores) if scores else np.zeros(0)
