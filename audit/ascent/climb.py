"""Gradient ascent of an objective of the denoiser over the text encoder's input, inside a trust region.

The variable is the token embeddings, fed through the text encoder. With the encoder's output as the variable, neurons
that are linear in it (`to_k`, `to_v`) are unbounded, and the result is nonsense. Every embedding stays within a ball
around its start. Each step draws new noise, so that a solution holds at every seed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import Conditioning, EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import TokenClass

logger = logging.getLogger(__name__)

Variable = Literal["token_embeddings", "prompt_embeds"]
Objective = Callable[[Tensor, Conditioning, slice], Tensor]
"""Maps latents [start, channel, row, column] (pure noise, x_T), what they are conditioned on and the slice of starts
they belong to, to one value a start, on the graph: [start].
"""


@dataclass(frozen=True, slots=True)
class ClimbPlan:
    """How to ascend.

    Args:
        learning_rate: of Adam, in units of the variable.
        radius: of the trust region, in units of the norm of each start vector.
        variable: what moves; `prompt_embeds` for encoders whose input cannot be substituted.
        batch_size: starts in one call of the denoiser; it changes memory, and results only by rounding.
        checkpointing: recompute the denoiser's activations in the backward pass: less memory, about a third more time.
    """

    n_steps: int
    learning_rate: float
    radius: float
    variable: Variable
    batch_size: int
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class Climbed:
    """Where an ascent ended.

    Args:
        conditioning: a row for each start, on the CPU in float32.
        first, last: objective before the first update and at the last step, [start] each.
        evaluations: UE of one start.
    """

    conditioning: Conditioning
    first: Tensor
    last: Tensor
    evaluations: int


def climb(
    denoiser: Denoiser,
    prompts: EncodedPrompts,
    objective: Objective,
    plan: ClimbPlan,
    generators: Sequence[torch.Generator],
) -> Climbed:
    """Ascend from each of `prompts`; they do not influence one another.

    Args:
        generators: one CPU generator per prompt, which draws its noise.
    """
    parts = []
    with denoiser.frozen(plan.checkpointing):
        for first in range(0, len(prompts), plan.batch_size):
            rows = slice(first, first + plan.batch_size)
            parts.append(_climb_batch(denoiser, prompts.rows(rows), objective, plan, generators[rows], rows))
    return Climbed(
        conditioning=Conditioning.join([part.conditioning for part in parts]),
        first=torch.cat([part.first for part in parts]),
        last=torch.cat([part.last for part in parts]),
        evaluations=parts[0].evaluations,
    )


def _climb_batch(
    denoiser: Denoiser,
    prompts: EncodedPrompts,
    objective: Objective,
    plan: ClimbPlan,
    generators: Sequence[torch.Generator],
    rows: slice,
) -> Climbed:
    through_encoder = plan.variable == "token_embeddings"
    starts = denoiser.token_embeddings(prompts) if through_encoder else prompts.conditioning.tensors
    vectors = [_Vectors(start.float(), plan.radius) for start in starts.values()]
    for vector, classes in zip(vectors, prompts.classes.values(), strict=False):
        vector.hold_(classes != TokenClass.START)
    adam = torch.optim.Adam([vector.moved for vector in vectors], lr=plan.learning_rate)
    before, overflows = denoiser.evaluations, torch.zeros(len(prompts), dtype=torch.bool, device=denoiser.device)
    values: list[Tensor] = []

    def encode() -> Conditioning:
        moved = {name: vector.moved for name, vector in zip(starts, vectors, strict=True)}
        if through_encoder:
            return denoiser.encode_from(moved, prompts)
        return Conditioning(moved).to(denoiser.device, denoiser.dtype)

    for _ in range(plan.n_steps):
        with denoiser.counting_backward():
            value = objective(denoiser.noise(generators), encode(), rows)  # [start]
        gradients = torch.autograd.grad(-value.float().sum(), [vector.moved for vector in vectors])
        for vector, gradient in zip(vectors, gradients, strict=True):
            overflows |= ~gradient.isfinite().flatten(1).all(dim=1)
            # a start that overflows stays where it is
            vector.moved.grad = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        adam.step()
        for vector in vectors:
            vector.pull_back_()
        values.append(value.detach().float().cpu())
    if n := int(overflows.sum()):
        line = "%d of %d ascents met gradients that are not finite and stayed; load the model in float32 or bfloat16"
        logger.warning(line, n, len(prompts))
    spent = (denoiser.evaluations - before) // len(prompts)
    with torch.no_grad():
        return Climbed(encode().kept(), values[0], values[-1], spent)


class _Vectors:
    """Vectors [start, …, width] that move inside a ball around where they start."""

    def __init__(self, start: Tensor, radius: float) -> None:
        self._start = start
        self._reach = radius * start.norm(dim=-1, keepdim=True)  # [start, …, 1]
        self.moved = start.clone().requires_grad_()

    def hold_(self, free: Tensor) -> None:
        """Let only the positions move where `free` [start, position] is 1."""
        if self._reach.ndim == 3 and self._reach.shape[1] == free.shape[1]:
            self._reach = self._reach * free[..., None].to(self._start)

    @torch.no_grad()
    def pull_back_(self) -> None:
        """Move vectors outside their ball to its surface."""
        step = self.moved - self._start
        length = step.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(step.dtype).tiny)
        self.moved.copy_(self._start + step * (self._reach / length).clamp(max=1))
