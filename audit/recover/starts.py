"""Neutral starts for a search without captions: random whole words of the tokenizer's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from audit.denoiser import Denoiser, Tokens
from audit.loading import ModelError

MIN_WORDS, MAX_WORDS = 3, 12
_MIN_LETTERS = 4


def random_captions(denoiser: Denoiser, n: int, generator: torch.Generator) -> list[str]:
    """Captions of 3 to 12 random words each, which the tokenizer reads as one token a word where it can.

    Raises:
        ModelError: the vocabulary holds no whole words.
    """
    words = whole_words(denoiser.pipe.tokenizer)
    if not words:
        raise ModelError(
            f"the vocabulary of {type(denoiser.pipe.tokenizer).__name__} marks no whole words of at least "
            f"{_MIN_LETTERS} letters; a search starts from such words, as CLIP and T5 have them"
        )
    captions = []
    for _ in range(n):
        length = int(torch.randint(MIN_WORDS, MAX_WORDS + 1, (1,), generator=generator))
        chosen = torch.randint(len(words), (length,), generator=generator).tolist()
        captions.append(" ".join(words[i] for i in chosen))
    return captions


def whole_words(tokenizer: Any) -> list[str]:
    """Words of at least four letters that are one token, in the order of their ids: CLIP marks ends, T5 starts."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    ends = [token.removesuffix("</w>") for token, _ in vocabulary if token.endswith("</w>")]
    starts = [token.removeprefix("▁") for token, _ in vocabulary if token.startswith("▁")]
    return _words(ends) or _words(starts)


def _words(pieces: Sequence[str]) -> list[str]:
    return [piece for piece in pieces if len(piece) >= _MIN_LETTERS and piece.isalpha()]


def neutral_tokens(denoiser: Denoiser, n: int, generator: torch.Generator) -> Tokens:
    """`random_captions`, tokenized."""
    return denoiser.tokenize(random_captions(denoiser, n, generator))
