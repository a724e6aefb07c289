"""Words of a prompt that an ascent may change: all of them, a few, or a few inserted ones.

A caption that is known in part may be wrong at any word. An ascent that may move every word leaves the prompt for
whatever memory is nearest; an ascent that may move a few keeps what is right in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashbulb.audit.ascent.starts import random_prompts
from flashbulb.audit.model.conditioning import EncodedPrompts
from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.hooks import TokenClass


@dataclass(frozen=True, slots=True)
class Start:
    """A prompt to climb from, and the whitespace-separated words that may move; None for all."""

    text: str
    free_words: tuple[int, ...] | None


def choose_start(denoiser: Denoiser, prompt: str, restart: int, n_free: int, generator: torch.Generator) -> Start:
    """Choose the start of one restart: the first frees all words, odd ones free `n_free`, even ones insert `n_free`."""
    words = prompt.split()
    if restart == 0 or not words:
        return Start(prompt, None)
    chosen = torch.randperm(len(words), generator=generator)[:n_free].tolist()
    if restart % 2:
        return Start(prompt, tuple(sorted(chosen)))
    inserted = random_prompts(denoiser, 1, generator)[0].split()[:n_free]
    free: list[int] = []
    for word in inserted:
        place = int(torch.randint(len(words) + 1, (1,), generator=generator))
        words.insert(place, word)
        free = [i + (i >= place) for i in free] + [place]
    return Start(" ".join(words), tuple(sorted(free)))


def free_positions(denoiser: Denoiser, prompts: EncodedPrompts, starts: Sequence[Start]) -> dict[str, Tensor]:
    """Return 1 where a token may move, never at the start token: [start, position] by text encoder."""
    free = {}
    for encoder, classes in prompts.classes.items():
        free[encoder] = (classes != TokenClass.START).float()
        for row, start in enumerate(starts):
            if start.free_words is not None:
                words = denoiser.text.words_of_positions(start.text, classes.shape[1], encoder)
                is_free = torch.tensor([word in start.free_words for word in words], device=classes.device)
                free[encoder][row] = is_free & (classes[row] == TokenClass.PROMPT)  # not the end of a truncated prompt
    return free
