"""Tier 0: leave out prompts that the text side alone clears, without a denoiser evaluation.

Memorized prompts also spike in the text encoder and in the cross-attention keys and values, though less clearly than in
the denoiser. Prompts that score below a chosen quantile of the reference are left out of the later tiers. Of a
fine-tune with a base, the base's scores are subtracted first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.detectors import Matrix, Vector
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.record.columns import Columns
from flashbulb.audit.record.prompt_sites import PromptSites
from flashbulb.audit.record.recorder import Recorder
from flashbulb.audit.record.shards import Shards
from flashbulb.audit.run.progress import track
from flashbulb.audit.statistics.baseline import Baseline, fit_baseline, mean_spike_scores
from flashbulb.audit.statistics.scores import SCORED_REDUCTIONS, score_group, scored_kinds, unit_of
from flashbulb.audit.statistics.spikes_on_device import SpikesOnDevice
from flashbulb.hooks import PROMPT_SITE_KINDS, Site
from flashbulb.hooks.overlap import begin_transfer, beside, streams_aside

_SCORED = frozenset(reduction for kind in PROMPT_SITE_KINDS for reduction in SCORED_REDUCTIONS[kind])

_GPU_FACTOR, _MOST_ON_GPU = 4, 256
"""A GPU waits for calls rather than for sums, and so many times as many texts take less memory than the latents do."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What tier 0 learnt from the reference, one entry per kind of prompt site.

    Args:
        columns: columns of activations that are scored.
        baselines: one fitted on the complete reference.
        units: 99th percentile of the reference's spike scores, by which scores are divided.
        threshold: smallest tier-0 score with which a prompt reaches the next tier.
    """

    columns: tuple[Columns, ...]
    baselines: tuple[tuple[Baseline, ...], ...]
    units: tuple[float, ...]
    threshold: float


class TextSpikes(NamedTuple):
    """Spike scores of a model's text side, whitened in the model: [kind, prompt] each."""

    reference: Matrix
    candidates: Matrix


class Screened(NamedTuple):
    """Tier-0 scores of candidates, [prompt], and the smallest with which a prompt reaches the next tier."""

    scores: Vector
    threshold: float


class PromptRows(NamedTuple):
    """Prompt sites that were read but not recorded, [prompt, neuron] by column."""

    rows: Mapping[str, Matrix]

    def matrices(self, columns: Columns) -> Iterator[Matrix]:
        """Yield the neurons of the columns side by side, as `Shards.matrices`: [prompt, neuron]."""
        yield self.matrix(columns)

    def matrix(self, columns: Columns, limit: int | None = None) -> Matrix:
        """Return the neurons of the columns, as `Shards.matrix`: [prompt, neuron]."""
        return columns.join(self.rows)[:limit]


def fit_screen(sites: Sequence[Site], reference: Shards, *, n_components: int, share: float) -> Screen:
    """Fit the screen on the reference; its threshold is the `share` quantile of the reference's tier-0 scores.

    Raises:
        ValueError: no prompt site is recorded.
    """
    columns, baselines, spikes = _fit(sites, reference, n_components, by_fold=False)
    units = _units(spikes)
    return Screen(columns, baselines, units, float(np.quantile(_combined(spikes, units), share)))


def screen_prompts(screen: Screen, recorder: Recorder, prompts: Sequence[Prompt]) -> Vector:
    """Return the tier-0 score of each prompt, the mean over kinds of prompt site, at no UE: [prompt]."""
    spikes = _spikes(screen.columns, screen.baselines, recorder.prompt_sites, prompts, recorder.plan.batch_size)
    return _combined(spikes, screen.units)


def screen_added(own: TextSpikes, base: TextSpikes, share: float) -> Screened:
    """Screen by what training added: the spikes of the base are subtracted in the unit of the fine-tune."""
    units = _units(own.reference)
    reference, candidates = (_combined(a - b, units) for a, b in zip(own, base, strict=True))
    return Screened(candidates, float(np.quantile(reference, share)))


def read_spikes(
    sites: PromptSites,
    reference: Sequence[Prompt],
    candidates: Sequence[Prompt],
    *,
    n_components: int,
    batch_size: int,
) -> TextSpikes:
    """Score the text side of a model, whitened by its own reference, at no UE."""
    order, parts = list[int](), list[Mapping[str, Tensor]]()
    for chosen, read in sites.word_batches(_texts(reference), batch_size, _SCORED):
        order += chosen
        parts.append(begin_transfer(read())())
    places = np.argsort(order)
    rows = {name: torch.cat([part[name] for part in parts]).float().numpy()[places] for name in parts[0]}
    columns, baselines, spikes = _fit(sites.sites, PromptRows(rows), n_components, by_fold=True)
    return TextSpikes(spikes, _spikes(columns, baselines, sites, candidates, batch_size))


def _fit(
    sites: Sequence[Site], reference: Shards | PromptRows, n_components: int, *, by_fold: bool
) -> tuple[tuple[Columns, ...], tuple[tuple[Baseline, ...], ...], Matrix]:
    """Return columns and baselines of each kind, and the out-of-fold spike scores of the reference, [kind, prompt].

    Args:
        by_fold: return the baselines of the folds. A baseline of the complete reference gives other prompts lower
            scores than out-of-fold ones, and by how much depends on the model, which a small difference cannot bear.
    """
    kinds = [kind for kind in scored_kinds(sites) if kind in PROMPT_SITE_KINDS]
    if not kinds:
        raise ValueError(f"tier 0 reads {', '.join(sorted(PROMPT_SITE_KINDS))}; record at least one of them")
    groups = [score_group(kind, sites, reference, None, n_components=n_components, pooled=True) for kind in kinds]
    baselines = tuple(
        group.baselines if by_fold else (fit_baseline(reference.matrix(group.columns), n_components),)
        for group in groups
    )
    return tuple(group.columns for group in groups), baselines, np.stack([group.candidates for group in groups])


def _spikes(
    columns: Sequence[Columns],
    baselines: Sequence[Sequence[Baseline]],
    sites: PromptSites,
    prompts: Sequence[Prompt],
    batch_size: int,
) -> Matrix:
    """Return the spike score of each kind and prompt: [kind, prompt]."""
    device, order = sites.denoiser.device, list[int]()
    score: Callable[[Mapping[str, Tensor]], Tensor] = partial(_spikes_on_host, columns, baselines)
    parts = [torch.zeros(len(columns), 0, dtype=torch.float64, device=device)]
    streams: Sequence[torch.cuda.Stream | None] = [None]
    if device.type != "cpu":
        score = SpikesOnDevice(columns, baselines, device)
    if device.type == "cuda":
        batch_size = min(_GPU_FACTOR * batch_size, _MOST_ON_GPU)
        if sites.denoiser.is_resident:
            streams = streams_aside(device, 2)  # one is launched while the other computes
    with track("screening", len(prompts), "prompts") as advance:
        batches = sites.word_batches(_texts(prompts), batch_size, _SCORED)
        for (chosen, read), stream in zip(batches, cycle(streams), strict=False):
            with beside(stream):
                parts.append(score(read()))
            order += chosen
            advance(len(chosen))
    return np.asarray(torch.cat(parts, dim=1).cpu())[:, np.argsort(order)]


def _spikes_on_host(
    columns: Sequence[Columns], baselines: Sequence[Sequence[Baseline]], rows: Mapping[str, Tensor]
) -> Tensor:
    on_host = {name: values.numpy() for name, values in rows.items()}
    scores = [
        mean_spike_scores(own.join(on_host), kind_baselines)
        for own, kind_baselines in zip(columns, baselines, strict=True)
    ]
    return torch.from_numpy(np.stack(scores))


def _units(spikes: Matrix) -> tuple[float, ...]:
    return tuple(unit_of(kind_spikes) for kind_spikes in spikes)


def _combined(spikes: Matrix, units: Sequence[float]) -> Vector:
    """Return the mean over kinds of the spikes in their units: [kind, prompt] -> [prompt]."""
    return np.asarray((spikes / np.array(units)[:, None]).mean(axis=0))


def _texts(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.text for prompt in prompts]
