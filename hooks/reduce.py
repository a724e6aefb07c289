"""Reduce an activation to a few values per neuron, by token class or over space: pure functions, in float32."""

import logging
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from subprocess import SubprocessError

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class TokenClass(IntEnum):
    """The kind of token at a position of a prompt; the value is the code that `token_classes` returns."""

    START = 0
    PROMPT = 1
    END = 2
    PADDING = 3


TOKEN_REDUCTIONS = ("all_mean", "start_mean", "prompt_mean", "prompt_max", "end_mean", "padding_mean", "padding_max")
SPACE_REDUCTIONS = ("abs_max", "abs_mean", "mean")


def token_classes(
    input_ids: Tensor, eos_token_id: int | None, bos_token_id: int | None, pad_token_id: int | None = None
) -> Tensor:
    """Classify every position as one of `TokenClass`: int8 [prompt, position], on the device of `input_ids`.

    Position 0 is the start if it holds the start token. The first end token after it is the end. All positions
    after the end are padding, whatever their id: SD 1 pads with the end token, SD 2 with "!". A truncated prompt has
    its end in the last position and no padding. A tokenizer without a start token (T5) has no start. Of a tokenizer
    without an end token, `pad_token_id` at the end of a prompt is padding.

    Args:
        input_ids: [prompt, position]
        eos_token_id, bos_token_id: of the tokens that close and open a prompt; BERT calls them [SEP] and [CLS].

    Raises:
        ValueError: `input_ids` is not 2-D.
    """
    if input_ids.ndim != 2:
        raise ValueError(f"input_ids must be [prompt, position], got shape {tuple(input_ids.shape)}")
    is_start = torch.zeros_like(input_ids, dtype=torch.bool)
    if bos_token_id is not None:
        is_start[:, :1] = input_ids[:, :1] == bos_token_id
    is_eos = (input_ids == eos_token_id) & ~is_start if eos_token_id is not None else torch.zeros_like(is_start)
    n_eos = is_eos.cumsum(dim=1)  # [prompt, position], end tokens up to and including each position
    is_padding = n_eos > 0
    if eos_token_id is None and pad_token_id is not None:
        is_word = input_ids != pad_token_id
        is_padding = is_word.flip(1).cumsum(dim=1).flip(1) == 0  # no word here or after
    classes = torch.full_like(input_ids, TokenClass.PROMPT, dtype=torch.int8)
    classes = classes.masked_fill(is_padding, TokenClass.PADDING)
    classes = classes.masked_fill(is_eos & (n_eos == 1), TokenClass.END)
    return classes.masked_fill(is_start, TokenClass.START)


def over_tokens(x: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Reduce |x| over all positions and over those of each token class, keyed as in `TOKEN_REDUCTIONS`.

    A class without a position in a prompt is NaN in all neurons. NaN means only this absence: a NaN in `x` becomes
    infinity. Start and end are single positions, whose mean is also their maximum.

    Args:
        x: [prompt, position, neuron]
        classes: [prompt, position], from `token_classes`, on the device of `x`

    Returns:
        float32 [prompt, neuron] by key.

    Raises:
        ValueError: the shapes do not match.
    """
    return TokenReducer(classes)(x)


class TokenReducer:
    """Reduces activations of the same prompts as `over_tokens`, site after site.

    Args:
        classes: [prompt, position], from `token_classes`, on the device of the activations.
    """

    def __init__(self, classes: Tensor) -> None:
        self.classes = classes
        self._inside = torch.stack([classes == token_class for token_class in TokenClass], dim=1)
        self._n_inside = self._inside.sum(dim=2, keepdim=True)  # [prompt, class, 1]
        if classes.device.type != "cpu":
            return
        self._is_absent = self._n_inside == 0  # [prompt, class, 1]
        self._absent = frozenset(c for c in TokenClass if bool(self._is_absent[:, c].any()))
        self._prompts = torch.arange(len(classes))
        self._first = self._inside.int().argmax(dim=2)  # [prompt, class]
        self._weights = self._inside.float()[..., None]  # [prompt, class, position, 1]
        # A sum of zeros at the end adds nothing, but torch adds up every fourth position on its own.
        n_prompt = 1 + _last(self._inside[:, TokenClass.PROMPT].any(dim=0))
        self._n_prompt = min(classes.shape[1], max(1, -(-n_prompt // 4)) * 4)
        self._n_mixed = 1 + _last((classes != TokenClass.PADDING).any(dim=0))

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Reduce activations [prompt, position, neuron]: float32 [prompt, neuron] by key."""
        if x.ndim != 3 or x.shape[:2] != self.classes.shape:
            raise ValueError(
                f"x must be [prompt, position, neuron] and classes [prompt, position], "
                f"got {tuple(x.shape)} and {tuple(self.classes.shape)}"
            )
        magnitude = x.float().abs()
        if x.device.type != "cpu":
            magnitude = magnitude.nan_to_num(nan=torch.inf, posinf=torch.inf)
            return over_tokens_in_few_calls(magnitude, self._inside, self._n_inside)
        reduced = {"all_mean": magnitude.mean(dim=1)}
        is_finite = bool(reduced["all_mean"].isfinite().all())
        if not is_finite:
            magnitude = magnitude.nan_to_num(nan=torch.inf, posinf=torch.inf)
            reduced = {"all_mean": magnitude.mean(dim=1)}
        for token_class in TokenClass:
            name = token_class.name.lower()
            if token_class in (TokenClass.START, TokenClass.END):  # one position, or none
                single = magnitude[self._prompts, self._first[:, token_class]]  # [prompt, neuron]
                reduced[f"{name}_mean"] = self._without_absent(single, token_class)
                continue
            members, n = self._only_(magnitude, token_class, is_finite), self._n_inside[:, token_class]
            reduced[f"{name}_mean"] = members.sum(dim=1) / n  # 0 / 0 is NaN: the class is absent
            reduced[f"{name}_max"] = self._without_absent(members.amax(dim=1), token_class)  # no magnitude is below 0
        return reduced

    def _without_absent(self, values: Tensor, token_class: TokenClass) -> Tensor:
        """Return values [prompt, neuron] with NaN for the prompts that have no such position."""
        if token_class not in self._absent:
            return values
        return values.masked_fill(self._is_absent[:, token_class], torch.nan)

    def _only_(self, magnitude: Tensor, token_class: TokenClass, is_finite: bool) -> Tensor:
        """Return magnitudes with 0 at positions of other classes; of padding, the last class, in place.

        Products with 0 and 1 take a third of the time of selections on a CPU, but infinity times 0 is NaN. Positions
        beyond all prompts are left out, and where all have padding there is nothing to multiply.
        """
        if not is_finite:
            return magnitude.where(self._inside[:, token_class, :, None], 0.0)
        if token_class == TokenClass.PROMPT:
            return magnitude[:, : self._n_prompt] * self._weights[:, token_class, : self._n_prompt]
        magnitude[:, : self._n_mixed] *= self._weights[:, token_class, : self._n_mixed]
        return magnitude


def _last(is_true: Tensor) -> int:
    """Return the index of the last true value of [position], -1 if there is none."""
    indices = is_true.nonzero()
    return int(indices[-1]) if len(indices) else -1


def over_tokens_in_few_calls(magnitude: Tensor, inside: Tensor, n_inside: Tensor) -> dict[str, Tensor]:
    """Reduce magnitudes [prompt, position, neuron] on an accelerator, which waits for calls rather than for sums.

    A neuron that is infinite at some position is infinite in the means of all classes.
    """
    weights = inside.float() / n_inside  # [prompt, class, position]; 0 / 0 is NaN: the class is absent
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


def over_space(x: Tensor) -> dict[str, Tensor]:
    """Reduce over the pixels of each latent image, keyed as in `SPACE_REDUCTIONS`.

    A GPU reads `x` once. Where its compiler is missing or gradients flow, it reads `x` four times, and an accelerator
    never writes a copy of it, which would cost more than the model's own layer.

    Args:
        x: [latent, pixel, neuron]

    Returns:
        float32 [latent, neuron] by key: the maximum and mean of |x|, and the mean of x.

    Raises:
        ValueError: `x` is not 3-D, or has no pixel.
    """
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(f"x must be [latent, pixel, neuron] with at least one pixel, got {tuple(x.shape)}")
    if x.device.type == "cpu":  # there, a copy is faster than such reductions
        x = x.float()
        magnitude = x.abs()
        return {"abs_max": magnitude.amax(dim=1), "abs_mean": magnitude.mean(dim=1), "mean": x.mean(dim=1)}
    if x.is_cuda and not x.requires_grad and (in_one_pass := _find_one_pass()) is not None:
        reduced = in_one_pass(x)
    else:
        reduced = _in_four_passes(x)
    return dict(zip(SPACE_REDUCTIONS, reduced.unbind(dim=1), strict=True))


def _in_four_passes(x: Tensor) -> Tensor:
    """Reduce as `over_space` without a copy of `x`: float32 [latent, reduction, neuron]."""
    largest = torch.maximum(x.amax(dim=1), -x.amin(dim=1)).float()
    abs_sum = torch.linalg.vector_norm(x, 1, dim=1, dtype=torch.float32)
    return torch.stack([largest, abs_sum / x.shape[1], x.mean(dim=1, dtype=torch.float32)], dim=1)


@cache
def _find_one_pass() -> Callable[[Tensor], Tensor] | None:
    """Return what reduces over space in one pass on a GPU, or None where that cannot be trusted."""
    try:
        from flashbulb.hooks.fused import reduce_over_space

        known = torch.linspace(-3, 2, 2 * 300 * 70, device="cuda").reshape(2, 300, 70).half()
        deviation = (reduce_over_space(known) - _in_four_passes(known)).abs().max().item()
    except (ImportError, OSError, RuntimeError, SubprocessError) as error:
        logger.info("activations are reduced without Triton, which takes longer: %s", error)
        return None
    if not deviation < 1e-4:
        logger.warning("activations are reduced without Triton, whose results deviate by %.2g on this GPU", deviation)
        return None
    return reduce_over_space
