"""Gradient ascent of an objective of the UNet over the text encoder's input, inside a trust region.

The variable is the token embeddings, fed through the text encoder. With the encoder's output as the variable, neurons
that are linear in it (`to_k`, `to_v`) are unbounded, and the result is nonsense. Every embedding stays within a ball
around its start. Each step draws new noise, so that a solution holds at every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from flashbulb.audit.model.stable_diffusion import Denoiser, Tokens

Variable = Literal["token_embeddings", "prompt_embeds"]
Objective = Callable[[Tensor, Tensor, slice], Tensor]
"""Maps latents [start, channel, row, column] (pure noise, x_T), prompt_embeds [start, position, width] and the slice of
starts they belong to, to one value a start, on the graph: [start].
"""

BACKWARD_COST = 2
"""UE of one backward pass; with its forward evaluation a step costs 3."""


@dataclass(frozen=True, slots=True)
class ClimbPlan:
    """How to ascend.

    Args:
        learning_rate: of Adam, in units of the variable.
        radius: of the trust region, in units of the norm of each start vector.
        variable: what moves; `prompt_embeds` for encoders whose input cannot be substituted.
        batch_size: starts in one UNet call; it changes memory, and results only by rounding.
        checkpointing: recompute the UNet's activations in the backward pass: less memory, about a third more time.
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
        prompt_embeds: [start, position, width], on the CPU in float32.
        first, last: objective before the first update and at the last step, [start] each.
        evaluations: UE of one start.
    """

    prompt_embeds: Tensor
    first: Tensor
    last: Tensor
    evaluations: int


def climb(
    denoiser: Denoiser,
    tokens: Tokens,
    objective: Objective,
    plan: ClimbPlan,
    generators: Sequence[torch.Generator],
    free: Tensor | None = None,
) -> Climbed:
    """Ascend from each row of `tokens`; rows do not influence one another.

    Args:
        generators: one CPU generator per row, which draws its noise.
        free: [row, position], 1 where the vector may move, else 0; by default every token but the start token.
    """
    if free is None:
        free = (tokens.classes != 0).float()
    parts = []
    with frozen_parameters(denoiser.pipe, plan.checkpointing):
        for first in range(0, len(tokens.input_ids), plan.batch_size):
            rows = slice(first, first + plan.batch_size)
            parts.append(_climb_batch(denoiser, tokens.rows(rows), objective, plan, generators[rows], free[rows], rows))
    return Climbed(
        prompt_embeds=torch.cat([part.prompt_embeds for part in parts]),
        first=torch.cat([part.first for part in parts]),
        last=torch.cat([part.last for part in parts]),
        evaluations=parts[0].evaluations,
    )


def _climb_batch(
    denoiser: Denoiser,
    tokens: Tokens,
    objective: Objective,
    plan: ClimbPlan,
    generators: Sequence[torch.Generator],
    free: Tensor,
    rows: slice,
) -> Climbed:
    through_encoder = plan.variable == "token_embeddings"
    start = (denoiser.token_embeddings(tokens) if through_encoder else denoiser.embed(tokens)).float()
    reach = plan.radius * start.norm(dim=2, keepdim=True) * free[..., None].to(start)  # [start, position, 1]
    moved = start.clone().requires_grad_()
    adam = torch.optim.Adam([moved], lr=plan.learning_rate)
    before = denoiser.evaluations
    values: list[Tensor] = []

    def embed() -> Tensor:
        return denoiser.embed_from(moved, tokens) if through_encoder else moved.to(denoiser.dtype)

    for _ in range(plan.n_steps):
        forward = denoiser.evaluations
        value = objective(denoiser.noise(generators), embed(), rows)  # [start]
        denoiser.evaluations += BACKWARD_COST * (denoiser.evaluations - forward)
        (gradient,) = torch.autograd.grad(-value.float().sum(), [moved])
        moved.grad = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)  # a start that overflows stays where it is
        adam.step()
        with torch.no_grad():
            step = moved - start
            length = step.norm(dim=2, keepdim=True).clamp_min(torch.finfo(step.dtype).tiny)
            moved.copy_(start + step * (reach / length).clamp(max=1))
        values.append(value.detach().float().cpu())
    spent = (denoiser.evaluations - before) // len(start)
    with torch.no_grad():
        return Climbed(embed().float().cpu(), values[0], values[-1], spent)


@contextmanager
def frozen_parameters(pipe: Any, checkpointing: bool = False) -> Iterator[None]:
    """Freeze the parameters of the pipeline while the context is open, and restore them after it."""
    parts = [pipe.unet, pipe.text_encoder, pipe.vae]
    required = [(parameter, parameter.requires_grad) for part in parts for parameter in part.parameters()]
    was_checkpointing = pipe.unet.is_gradient_checkpointing
    try:
        for parameter, _ in required:
            parameter.requires_grad_(False)
        if checkpointing and not was_checkpointing:
            pipe.unet.enable_gradient_checkpointing()
        yield
    finally:
        for parameter, requires_grad in required:
            parameter.requires_grad_(requires_grad)
        if checkpointing and not was_checkpointing:
            pipe.unet.disable_gradient_checkpointing()
