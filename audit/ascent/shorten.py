"""Leave out the words of a prompt that hide what it recalls.

A word that is wrong, or at a wrong place, can quench the recall of a prompt whose other words are right. Without it,
some neurons spike higher. Words are left out one at a time, each time the one without which the highest z-scores are
highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flashbulb.audit.ascent.neurons import NeuronScores
from flashbulb.audit.model.denoiser import Denoiser

MAX_TRIED = 16
"""Words of a prompt that are tried each time, drawn at random from a longer one: it bounds what a prompt costs."""
MOST_LEFT_OUT = 3
"""Words that a random shortening leaves out, at most."""
_MIN_WORDS = 2  # that every shortened prompt keeps


class Shortened(NamedTuple):
    """A prompt without some of its words, and the UE spent on choosing them."""

    text: str
    evaluations: int


class Shortenings(NamedTuple):
    """Several shortened prompts, and the UE spent on choosing them."""

    texts: list[str]
    evaluations: int


def random_shortenings(text: str, n: int, generator: torch.Generator) -> list[str]:
    """Return a prompt `n` times, each time without one to three of its words, which are drawn at random.

    At least two words stay; of a prompt that has no more, all do.
    """
    words = text.split()
    most = min(MOST_LEFT_OUT, len(words) - _MIN_WORDS)
    if most < 1:
        return [text] * n
    texts = []
    for _ in range(n):
        n_left_out = 1 + int(torch.randint(most, (1,), generator=generator))
        left_out = set(torch.randperm(len(words), generator=generator)[:n_left_out].tolist())
        texts.append(" ".join(word for i, word in enumerate(words) if i not in left_out))
    return texts


@torch.no_grad()
def best_shortenings(
    denoiser: Denoiser,
    scores: NeuronScores,
    prompts: Sequence[str],
    n_tried: int,
    n_best: int,
    n_highest: int,
    generators: Sequence[torch.Generator],
    batch_size: int,
) -> list[Shortenings]:
    """Return the `n_best` of each prompt and of its random shortenings: those that spike highest.

    Args:
        n_tried: at most, the prompt included; each costs 1 UE.
        n_highest: neurons whose mean z says how high a text spikes, at one noise.
        generators: one CPU generator per prompt, which draws its noise and the words that are left out.
    """
    latents = torch.cat([denoiser.noise([generator]) for generator in generators])
    tried = [
        list(dict.fromkeys([prompt, *random_shortenings(prompt, n_tried - 1, generator)]))
        for prompt, generator in zip(prompts, generators, strict=True)
    ]
    chosen = []
    spikes = _spikes(denoiser, scores, tried, latents, n_highest, batch_size)
    for variants, spike in zip(tried, spikes, strict=True):
        order = spike.argsort(descending=True, stable=True).tolist()[:n_best]
        best = [variants[i] for i in order]
        chosen.append(Shortenings(best + best[:1] * (n_best - len(best)), len(variants)))
    return chosen


@torch.no_grad()
def leave_words_out(
    denoiser: Denoiser,
    scores: NeuronScores,
    prompts: Sequence[str],
    n_words: int,
    n_highest: int,
    generators: Sequence[torch.Generator],
    batch_size: int,
) -> list[Shortened]:
    """Leave `n_words` whitespace-separated words out of each prompt, which keeps at least two.

    Args:
        n_highest: neurons whose mean z says how high a prompt spikes, at one noise.
        generators: one CPU generator per prompt, which draws its noise and the words that are tried.
    """
    latents = torch.cat([denoiser.noise([generator]) for generator in generators])
    shortened = [Shortened(prompt, 0) for prompt in prompts]
    for _ in range(n_words):
        tried = [_variants(short.text, generator) for short, generator in zip(shortened, generators, strict=True)]
        spikes = _spikes(denoiser, scores, tried, latents, n_highest, batch_size)
        shortened = [
            Shortened(variants[int(spike.argmax())], short.evaluations + len(variants)) if variants else short
            for short, variants, spike in zip(shortened, tried, spikes, strict=True)
        ]
    return shortened


def _variants(prompt: str, generator: torch.Generator) -> list[str]:
    """Return the prompt without each of its words, or of some of them; none of a prompt that is short already."""
    words = prompt.split()
    if len(words) <= _MIN_WORDS:
        return []
    tried = sorted(torch.randperm(len(words), generator=generator)[:MAX_TRIED].tolist())
    return [" ".join(words[:i] + words[i + 1 :]) for i in tried]


def _spikes(
    denoiser: Denoiser,
    scores: NeuronScores,
    tried: Sequence[Sequence[str]],
    latents: Tensor,
    n_highest: int,
    batch_size: int,
) -> Sequence[Tensor]:
    """Return how high each variant of each prompt spikes, at the prompt's noise: [variant] a prompt."""
    texts = [text for variants in tried for text in variants]
    noises = latents[[i for i, variants in enumerate(tried) for _ in variants]]
    spikes = [
        scores.measured(noises[rows], denoiser.encode(texts[rows]).conditioning)
        .topk(n_highest, dim=1)
        .values.mean(dim=1)
        for rows in (slice(first, first + batch_size) for first in range(0, len(texts), batch_size))
    ]
    joined = torch.cat(spikes) if spikes else latents.new_empty(0)
    return torch.split(joined, [len(variants) for variants in tried])
