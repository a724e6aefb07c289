"""What is written in the place of a shard's activations, where a set is too large to keep them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa
from torch import Tensor

LAYOUT, BULK = "layout", "bulk"
"""Entry of a manifest, and its value where the shard holds what a reduction returned; dense shards have no entry."""

BASELINES_FILE, BASELINES_SHA256 = "baselines.safetensors", "baselines_sha256"
"""The file beside shards that were reduced by it, and the entry of their manifests."""


class Reduction(Protocol):
    """Reduces the activations of a shard to some numbers a prompt; plain values, which any process can take."""

    @property
    def entries(self) -> Mapping[str, str]:
        """What manifests say of it: `LAYOUT`, and what identifies all that the numbers depend on."""

    def reduce(
        self, at_prompt: Mapping[str, Tensor], at_step: Mapping[str, Tensor], first: int
    ) -> Mapping[str, pa.Array]:
        """Return columns with one value a prompt.

        Args:
            at_prompt, at_step: activations of prompt sites, [prompt, neuron], and of step sites,
                [prompt × seed, neuron], by column.
            first: position of the first prompt in its set.
        """
