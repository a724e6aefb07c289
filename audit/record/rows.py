"""Rows of a shard, batch by batch as they come from the device, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashbulb.audit.record.reduction import Reduction
from flashbulb.hooks import check_finite, write_shard

PROMPT_FOLDER, STEP_FOLDER = "prompt", "step"
NOISE_NORM = "noise_pred_norm"
CUT = "cut"
"""What a shard's manifest calls the readings of its truncated prompts, see `EncodedPrompts.readings_of_cut`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRows:
    """All that is recorded of a shard, on the CPU, ready to be written.

    Args:
        prompt: [prompt, neuron] by column of a prompt site, some prompts at a time.
        step: [prompt × seed, neuron] by column of a step site, prompts outermost, some prompts at a time.
        scores: float64 [prompt × seed] by step detector, likewise; the norm of the prediction is under NOISE_NORM.
        entries: of its manifest.
        reduction: reduces the activations to what is written in their place; None to write all of them.
    """

    prompt_ids: Sequence[str]
    n_seeds: int
    timestep: float
    prompt: Sequence[Mapping[str, Tensor]]
    step: Sequence[Mapping[str, Tensor]]
    scores: Sequence[Mapping[str, Tensor]]
    entries: Mapping[str, Any]
    reduction: Reduction | None

    def write(self, folder: Path, index: int, first: int) -> None:
        """Write both halves of the shard, each complete or not at all.

        Args:
            first: position of the shard's first prompt in its set.

        Raises:
            NonFiniteActivation: the recording cannot be trusted; nothing is written.
        """
        ids = list(self.prompt_ids)
        scores = _concatenate(self.scores)
        prompt_keys: dict[str, Any] = {"prompt_id": ids}
        step_keys = {
            "prompt_id": np.repeat(ids, self.n_seeds).tolist(),
            "seed_index": list(range(self.n_seeds)) * len(ids),
            "timestep": [self.timestep] * (len(ids) * self.n_seeds),
            **{name: values.tolist() for name, values in scores.items()},
        }
        prompt_rows, step_rows = _concatenate(self.prompt), _concatenate(self.step)
        check_finite(prompt_rows, prompt_keys)
        check_finite({**step_rows, f"{NOISE_NORM}/mean": scores[NOISE_NORM][:, None]}, step_keys)
        entries = {**self.entries}
        if self.reduction is not None:
            prompt_keys |= self.reduction.reduce(prompt_rows, step_rows, first)
            prompt_rows, step_rows = {}, {}
            entries |= self.reduction.entries
        write_shard(folder / PROMPT_FOLDER, index, prompt_keys, prompt_rows, entries)
        write_shard(folder / STEP_FOLDER, index, step_keys, step_rows, entries)


def _concatenate(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the rows of several batches, column by column."""
    return {column: torch.cat([batch[column] for batch in batches]) for column in batches[0]}
