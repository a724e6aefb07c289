"""Classify the tokens of a prompt: the start, the words, the end, and what pads them."""

from enum import IntEnum

import torch
from torch import Tensor


class TokenClass(IntEnum):
    """The kind of token at a position of a prompt; the value is the code that `token_classes` returns."""

    START = 0
    PROMPT = 1
    END = 2
    PADDING = 3


TOKEN_REDUCTIONS = ("all_mean", "start_mean", "prompt_mean", "prompt_max", "end_mean", "padding_mean", "padding_max")


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
