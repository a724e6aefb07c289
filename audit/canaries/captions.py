"""Draw captions in the style of a data set, by joining parts of its own, so that their words betray nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.statistics.style import text_only_auc

GROUP_SIZE = 4
"""Canaries that share a part of their captions."""

FEWEST_CAPTIONS = 40
"""Distinct captions of three words or more that recombination needs."""

_FEWEST_WORDS = 3
_MOST_DRAWS, _MOST_TRIES, _MOST_PARTNERS = 20, 1000, 30
_NEAR = 0.25  # of the words of a caption
_MOST_COMPARED = 4000
_CHANCE = 1.645  # standard errors above 0.5, in which 5 % of equal sets end

Rng = np.random.Generator


class DrawnCaptions(NamedTuple):
    """Captions that no text-only classifier tells from those of the data set.

    Args:
        single: captions on their own.
        groups: captions that share a phrase, `GROUP_SIZE` each.
        auc: of a text-only classifier of these against the data set; a group counts by its first caption. It is below
            0.5 where a rare word of the data set stands in a canary as well.
        limit: largest AUC that passes for chance.
    """

    single: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    auc: float
    limit: float


def draw_captions(prompts: Sequence[Prompt], n_single: int, n_groups: int, seed: int) -> DrawnCaptions:
    """Draw captions until their words do not tell them from the data set's.

    They are joined from captions that stand in the data set once, if most do: the others may be memorized, and a
    canary with their words would recall them.

    Raises:
        CanaryError: the captions are too few or too short, or every draw is told from them.
    """
    captions = [prompt.text for prompt in prompts]
    once = [prompt.text for prompt in prompts if prompt.n_duplicates == 1]
    sources = once if 2 * len(once) >= len(captions) else captions
    usable = [words for caption in sources if len(words := caption.split()) >= _FEWEST_WORDS]
    if len(usable) < FEWEST_CAPTIONS:
        raise CanaryError(
            f"{len(usable)} captions have {_FEWEST_WORDS} words or more; canaries are joined from parts of at least "
            f"{FEWEST_CAPTIONS}, so give more captions"
        )
    compared = [captions[int(i)] for i in np.random.default_rng([seed, 0]).permutation(len(captions))[:_MOST_COMPARED]]
    lowest = 1.0
    for draw in range(_MOST_DRAWS):
        rng, taken = np.random.default_rng([seed, 1, draw]), set(captions)
        groups = tuple(_draw_group(usable, rng, taken) for _ in range(n_groups))
        single = tuple(_draw_new(usable, None, rng, taken) for _ in range(n_single))
        drawn = [*single, *(group[0] for group in groups)]
        auc, limit = text_only_auc(drawn, compared, seed), _chance_limit(len(drawn), len(compared))
        if auc is None:
            raise CanaryError(f"{len(drawn)} captions are too few to compare with the data set's; plant more canaries")
        if auc <= limit:
            return DrawnCaptions(single, groups, auc, limit)
        lowest = min(lowest, auc)
    raise CanaryError(
        f"{_MOST_DRAWS} draws of captions were all told from the data set's by their words (AUC {lowest:.2f} or more, "
        f"chance is up to {limit:.2f}); give more captions, or plant fewer canaries"
    )


def _chance_limit(n: int, m: int) -> float:
    """Return the AUC that 95 % of classifiers of equal sets stay below (Hanley and McNeil 1982)."""
    return 0.5 + _CHANCE * sqrt((n + m + 1) / (12 * n * m))


def _draw_group(captions: Sequence[list[str]], rng: Rng, taken: set[str]) -> tuple[str, ...]:
    """Draw captions that share a phrase of another caption, at its place in that one."""
    words = captions[int(rng.integers(len(captions)))]
    n_shared = max(2, len(words) // 2)
    start = int(rng.integers(len(words) - n_shared + 1))
    return tuple(_draw_new(captions, (words, start, n_shared), rng, taken) for _ in range(GROUP_SIZE))


def _draw_new(
    captions: Sequence[list[str]], phrase: tuple[list[str], int, int] | None, rng: Rng, taken: set[str]
) -> str:
    """Draw a caption that is not in `taken`, and add it."""
    for _ in range(_MOST_TRIES):
        first = _pick(captions, rng)
        if phrase is None:
            words = _join(_join(first, captions, rng.uniform(0.2, 0.5), rng), captions, rng.uniform(0.5, 0.8), rng)
        else:
            words = _insert(first, *phrase)
        caption = " ".join(words)
        if caption not in taken:
            taken.add(caption)
            return caption
    raise CanaryError(f"the captions are so alike that {_MOST_TRIES} joins gave no new one; give more captions")


def _pick(captions: Sequence[list[str]], rng: Rng) -> list[str]:
    return captions[int(rng.integers(len(captions)))]


def _join(first: Sequence[str], captions: Sequence[list[str]], place: float, rng: Rng) -> list[str]:
    """Go on as another caption from this share of the words on, if one is found at a word that both have there."""
    second = first
    for _ in range(_MOST_PARTNERS):
        second = _pick(captions, rng)
        shared = [
            (i, j)
            for i in range(1, len(first))
            for j in range(1, len(second))
            if first[i - 1] == second[j - 1] and max(abs(i / len(first) - place), abs(j / len(second) - place)) < _NEAR
        ]
        if shared:
            i, j = shared[int(rng.integers(len(shared)))]
            return [*first[:i], *second[j:]]
    i, j = (max(1, round(place * len(words))) for words in (first, second))
    return [*first[:i], *second[j:]]


def _insert(words: Sequence[str], other: Sequence[str], start: int, n_shared: int) -> list[str]:
    """Put the phrase `other[start : start + n_shared]` in place of the same share of the words."""
    first, last = (round(place / len(other) * len(words)) for place in (start, start + n_shared))
    return [*words[:first], *other[start : start + n_shared], *words[last:]]
