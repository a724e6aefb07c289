"""Which words of a caption an ascent may change: all of them, a few, or a few put in between.

Who knows a caption in part does not know which part. An ascent that may move every word leaves the caption for
whatever memory is nearest; one that may move only a few keeps what is right in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audit.denoiser import Denoiser, Tokens
from audit.recover.starts import random_captions
from hooks import TokenClass


@dataclass(frozen=True, slots=True)
class Start:
    """A caption to climb from, and which of its whitespace-separated words may move; None for everything."""

    text: str
    free_words: tuple[int, ...] | None


def choose_start(denoiser: Denoiser, caption: str, restart: int, n_free: int, generator: torch.Generator) -> Start:
    """The start of one restart: the first frees all; odd ones free `n_free` words, even ones put in as many words."""
    words = caption.split()
    if restart == 0 or not words:
        return Start(caption, None)
    chosen = torch.randperm(len(words), generator=generator)[:n_free].tolist()
    if restart % 2:
        return Start(caption, tuple(sorted(chosen)))
    inserted = random_captions(denoiser, 1, generator)[0].split()[:n_free]
    free: list[int] = []
    for word in inserted:
        place = int(torch.randint(len(words) + 1, (1,), generator=generator))
        words.insert(place, word)
        free = [i + (i >= place) for i in free] + [place]
    return Start(" ".join(words), tuple(sorted(free)))


def free_positions(denoiser: Denoiser, tokens: Tokens, starts: Sequence[Start]) -> Tensor:
    """1 where a token may move, never at the start token: [start, position]."""
    free = (tokens.classes != TokenClass.START).float()
    for row, start in enumerate(starts):
        if start.free_words is not None:
            free[row] = 0
            word_of = _words_of_positions(denoiser.pipe.tokenizer, start.text, len(free[row]))
            for position, word in enumerate(word_of):
                is_piece = tokens.classes[row, position] == TokenClass.PROMPT  # not the end of a caption cut short
                free[row, position] = float(is_piece and word in start.free_words)
    return free


def _words_of_positions(tokenizer: Any, text: str, n_positions: int) -> list[int | None]:
    """Index of the whitespace-separated word that each position holds a piece of; None at special tokens."""
    before = [0] if tokenizer.bos_token_id is not None else []
    word_of: list[int | None] = [None] * len(before)
    for index, word in enumerate(text.split()):
        n_pieces = len(tokenizer(word, add_special_tokens=False).input_ids)
        word_of += [index] * n_pieces
    return (word_of + [None] * n_positions)[:n_positions]
