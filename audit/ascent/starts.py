"""Starts for a search without prompts: random complete words of the tokenizer's vocabulary, or runs of a text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.errors import ModelError

MIN_WORDS, MAX_WORDS = 3, 12
MAX_RUN = 4
_MIN_LETTERS = 4


def draw_starts(denoiser: Denoiser, texts: Sequence[str], n: int, number: int, generator: torch.Generator) -> list[str]:
    """Draw the starts of a round: random words; where there are texts, every second one is a run of their words.

    Args:
        number: of the round; from one round to the next, the places of the two kinds change.
    """
    prompts = random_prompts(denoiser, n, generator)
    if texts:
        runs = slice((number + 1) % 2, None, 2)
        prompts[runs] = word_runs(texts, len(prompts[runs]), generator)
    return prompts


def random_prompts(denoiser: Denoiser, n: int, generator: torch.Generator) -> list[str]:
    """Draw prompts of 3 to 12 random words each; the tokenizer reads a word as one token where it can.

    Raises:
        ModelError: the vocabulary has no complete words.
    """
    words = whole_words(denoiser.text.vocabulary())
    if not words:
        raise ModelError(
            f"the vocabulary of {denoiser.text.tokenizer_class} has no complete words of at least "
            f"{_MIN_LETTERS} letters; a search starts from such words (CLIP, T5 and BERT have them)"
        )
    prompts = []
    for _ in range(n):
        length = int(torch.randint(MIN_WORDS, MAX_WORDS + 1, (1,), generator=generator))
        chosen = torch.randint(len(words), (length,), generator=generator).tolist()
        prompts.append(" ".join(words[i] for i in chosen))
    return prompts


def word_runs(texts: Sequence[str], n: int, generator: torch.Generator) -> list[str]:
    """Draw runs of one to four consecutive words, each of one of `texts`, which have words."""
    runs = []
    for _ in range(n):
        words = texts[int(torch.randint(len(texts), (1,), generator=generator))].split()
        length = min(int(torch.randint(1, MAX_RUN + 1, (1,), generator=generator)), len(words))
        first = int(torch.randint(len(words) - length + 1, (1,), generator=generator))
        runs.append(" ".join(words[first : first + length]))
    return runs


def whole_words(vocabulary: Sequence[str]) -> list[str]:
    """Return words of at least four letters that are one token, by id.

    CLIP marks word ends, T5 word starts, and BERT pieces that continue a word.
    """
    ends = [token.removesuffix("</w>") for token in vocabulary if token.endswith("</w>")]
    starts = [token.removeprefix("▁") for token in vocabulary if token.startswith("▁")]
    continues = [token.startswith("##") for token in vocabulary]
    wholes = [token for token, is_piece in zip(vocabulary, continues, strict=True) if not is_piece]
    return _words(ends) or _words(starts) or (_words(wholes) if any(continues) else [])


def _words(pieces: Sequence[str]) -> list[str]:
    return [piece for piece in pieces if len(piece) >= _MIN_LETTERS and piece.isalpha()]
