"""Spike scores where the activations lie: of millions of neurons on an accelerator, a few numbers come to the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.record.columns import Columns
from flashbulb.audit.statistics.baseline import Z_CLIP, Baseline


class SpikesOnDevice:
    """Scores prompts as `spike_scores` does, within rounding, by several kinds of site: the mean over their baselines.

    Args:
        baselines: of each kind.
        device: of the activations.
    """

    def __init__(
        self, columns: Sequence[Columns], baselines: Sequence[Sequence[Baseline]], device: torch.device
    ) -> None:
        self._columns = columns
        self._baselines = [
            [_OnDevice.of(baseline, device) for baseline in kind_baselines] for kind_baselines in baselines
        ]

    @torch.no_grad()
    def __call__(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Return the scores of activations [prompt, neuron] by column: float64 [kind, prompt]."""
        scores: list[Tensor] = []
        for own, kind_baselines in zip(self._columns, self._baselines, strict=True):
            matrix = torch.cat([rows[name] for name in own.names], dim=1).float()
            scores.append(torch.stack([baseline.spikes(matrix) for baseline in kind_baselines]).mean(dim=0))
        return torch.stack(scores)


class _OnDevice(NamedTuple):
    """A `Baseline` on an accelerator."""

    location: Tensor
    scale: Tensor
    components: Tensor

    @classmethod
    def of(cls, baseline: Baseline, device: torch.device) -> _OnDevice:
        arrays = (baseline.location, baseline.scale, baseline.components)
        return cls(*(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device) for array in arrays))

    def spikes(self, matrix: Tensor) -> Tensor:
        z = ((matrix - self.location) / self.scale).clamp(-Z_CLIP, Z_CLIP).nan_to_num(nan=0.0)
        if len(self.components):
            z = z - (z @ self.components.T) @ self.components
        return z.square().mean(dim=1, dtype=torch.float64).sqrt()
