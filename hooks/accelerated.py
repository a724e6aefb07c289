"""Reduce activations on an accelerator: in one pass by Triton on a GPU where it can be trusted, else by PyTorch."""

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from flashbulb.hooks.tokens import TOKEN_REDUCTIONS, TokenClass

logger = logging.getLogger(__name__)


def reduce_tokens(x: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Reduce |x| [prompt, position, neuron] by token class: float32 [prompt, neuron] by key.

    Args:
        classes: int8 [prompt, position]; a position of any other number than those of `TokenClass` counts nowhere but
            in the mean over all of them, and a GPU does not read it.
    """
    if x.is_cuda and not x.requires_grad and (fused := _find_fused()) is not None:
        return dict(zip(TOKEN_REDUCTIONS, fused.reduce_over_tokens(x, classes).unbind(dim=1), strict=True))
    return tokens_in_few_calls(x, classes)


def reduce_space(x: Tensor) -> Tensor:
    """Return the maximum and mean of |x|, and the mean of x: [latent, pixel, neuron] -> float32 [latent, 3, neuron].

    It never writes a copy of `x`, which would cost more than the model's own layer.
    """
    if x.is_cuda and not x.requires_grad and (fused := _find_fused()) is not None:
        in_one_pass: Tensor = fused.reduce_over_space(x)
        return in_one_pass
    return space_in_four_passes(x)


def tokens_in_few_calls(x: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Reduce as `reduce_tokens` by PyTorch, which waits for calls rather than for sums.

    A neuron that is infinite at some position is infinite in the means of all classes.
    """
    magnitude = x.float().abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    inside = torch.stack([classes == token_class for token_class in TokenClass], dim=1)  # [prompt, class, position]
    n_inside = inside.sum(dim=2, keepdim=True)
    weights = inside.float() / n_inside  # 0 / 0 is NaN: the class is absent
    weights = torch.cat([torch.full_like(weights[:, :1], 1 / inside.shape[2]), weights], dim=1)
    means = weights @ magnitude  # [prompt, all or class, neuron]; infinity times 0 is NaN
    is_absent = n_inside == 0
    means[:, 1:] = means[:, 1:].nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(is_absent, torch.nan)
    reduced = {"all_mean": means[:, 0]}
    for token_class in TokenClass:
        name = token_class.name.lower()
        reduced[f"{name}_mean"] = means[:, 1 + token_class]
        if token_class in (TokenClass.PROMPT, TokenClass.PADDING):
            members = magnitude.masked_fill(~inside[:, token_class, :, None], 0.0)
            reduced[f"{name}_max"] = members.amax(dim=1).masked_fill(is_absent[:, token_class], torch.nan)
    return reduced


def space_in_four_passes(x: Tensor) -> Tensor:
    """Reduce as `reduce_space` by PyTorch."""
    largest = torch.maximum(x.amax(dim=1), -x.amin(dim=1)).float()
    abs_sum = torch.linalg.vector_norm(x, 1, dim=1, dtype=torch.float32)
    return torch.stack([largest, abs_sum / x.shape[1], x.mean(dim=1, dtype=torch.float32)], dim=1)


@cache
def _find_fused() -> ModuleType | None:
    """Return what reduces in one pass on a GPU, or None where that cannot be trusted."""
    try:
        from flashbulb.hooks import fused

        known = torch.linspace(-3, 2, 2 * 300 * 70, device="cuda").reshape(2, 300, 70).half()
        space = fused.reduce_over_space(known) - space_in_four_passes(known)
        classes = torch.full((2, 300), TokenClass.PADDING, dtype=torch.int8, device="cuda")
        classes[0, :40], classes[:, 0], classes[0, 40] = TokenClass.PROMPT, TokenClass.START, TokenClass.END
        expected = torch.stack(list(tokens_in_few_calls(known, classes).values()), dim=1)
        tokens = fused.reduce_over_tokens(known, classes) - expected
        deviation = max(space.abs().max().item(), tokens.nan_to_num().abs().max().item())
        if bool((tokens.isnan() != expected.isnan()).any()):  # an absent class is NaN in both
            deviation = torch.inf
    except Exception as error:  # whatever its compiler raises, PyTorch reduces as well
        logger.info("activations are reduced without Triton, which takes longer: %s", error)
        return None
    if not deviation < 1e-4:
        logger.warning("activations are reduced without Triton, whose results deviate by %.2g on this GPU", deviation)
        return None
    return fused
