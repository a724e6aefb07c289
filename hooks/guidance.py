"""Layouts of a batch under classifier-free guidance: which rows respond to the prompt, which to the empty prompt."""

from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor


class GuidedBatch(NamedTuple):
    """The halves of a batch; without guidance the unconditional half has no rows."""

    unconditional: Tensor
    conditional: Tensor


class GuidanceLayout(Enum):
    """How a pipeline lays out a guided batch; without guidance every row is conditional.

    A model's family declares it: `do_classifier_free_guidance` tells whether a call is guided, not its layout.
    """

    UNCONDITIONAL_FIRST = "unconditional first"
    CONDITIONAL_FIRST = "conditional first"
    SEPARATE_CALLS = "separate calls"
    """The prompt and the empty prompt run in calls of their own, which look alike."""

    def split(self, activation: Tensor, is_guided: bool) -> GuidedBatch:
        """Split an activation along the batch.

        Raises:
            ValueError: the batch is guided and has an odd number of rows, or the calls cannot be told apart.
        """
        if not is_guided:
            return GuidedBatch(activation[:0], activation)
        if self is GuidanceLayout.SEPARATE_CALLS:
            raise ValueError(
                "this pipeline runs the prompt and the empty prompt in separate calls that look alike; "
                "switch its guidance off"
            )
        if len(activation) % 2:
            raise ValueError(
                f"a guided batch holds a row of the empty prompt for each row of the prompt, this one has "
                f"{len(activation)} rows; run the pipeline's own call, which stacks both"
            )
        first, second = activation.chunk(2)
        if self is GuidanceLayout.CONDITIONAL_FIRST:
            return GuidedBatch(second, first)
        return GuidedBatch(first, second)

    def join(self, batch: GuidedBatch) -> Tensor:
        """Return the batch whose `split` is `batch`."""
        if self is GuidanceLayout.CONDITIONAL_FIRST:
            return torch.cat([batch.conditional, batch.unconditional])
        return torch.cat([batch.unconditional, batch.conditional])
