"""Write new captions in the style of given ones, by recombining their parts; none is a near copy of a given one.

Two captions are joined at words that both hold. Names and numbers are made anew from the letters of two of them,
because a name of a memorized caption recalls its image whatever stands around it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

_WORDS = re.compile(r"\s*(?:\w+|[^\w\s]+)")  # a word or marks, with the space before it
_NAME_SHARE = 0.02
"""A word with a capital or a digit in at most this share of the captions, or in two, is a name or number."""
_FREE_SHARE = 0.5
"""Share of its pairs of words that a new caption may have in common with any one caption."""
_DRAWS = 30  # from one caption

Rng = np.random.Generator
Words = tuple[str, ...]
Pair = tuple[str, str]


class TooFewPartsError(ValueError):
    """The captions have too little in common to make new ones of them."""


def recombine(texts: Sequence[str], n: int, rng: Rng, *, avoid: Collection[str] = ()) -> list[str]:
    """Return `n` distinct captions made of the parts of `texts`, each text as often the first part as any other.

    Args:
        avoid: further captions that none may be near, those of the training set.

    Raises:
        TooFewPartsError: their parts give fewer that are new.
    """
    captions = [words for text in dict.fromkeys(texts) if len(words := _split(text)) > 1]
    known = _Known([*captions, *map(_split, avoid)])
    joined, renamed = _Joints(captions), _Names(captions)
    given, made = {text.casefold() for text in map(_join, known.captions)}, dict[str, None]()
    for _ in range(_DRAWS):
        for first in rng.permutation(len(captions)):
            if len(made) == n:
                return list(made)
            limit = max(_FREE_SHARE, known.nearest(captions[first], itself=int(first)))
            for _ in range(_DRAWS):
                words = renamed.renew(joined.cross(int(first), rng), rng)
                if _join(words).casefold() not in given and known.nearest(words) <= limit:
                    made[_join(words)] = None
                    break
    raise TooFewPartsError(f"their parts give {len(made)} new captions, not {n}; ask for fewer, or give more captions")


def _split(text: str) -> Words:
    return tuple(_WORDS.findall(text.strip()))


def _join(words: Words) -> str:
    return " ".join("".join(words).split())


def _key(word: str) -> str:
    return word.strip().casefold()


def _pairs(words: Words) -> list[Pair]:
    return list(pairwise(map(_key, words)))


class _Known:
    """Captions that a new one must not be near, by pairs of neighbouring words."""

    def __init__(self, captions: Sequence[Words]) -> None:
        self.captions = captions
        self._holders: dict[Pair, set[int]] = defaultdict(set)
        for i, words in enumerate(captions):
            for pair in _pairs(words):
                self._holders[pair].add(i)

    def nearest(self, words: Words, itself: int | None = None) -> float:
        """Return the largest share of the pairs of `words` that one caption holds, other than itself."""
        pairs = _pairs(words)
        shared = Counter(i for pair in pairs for i in self._holders.get(pair, ()) if i != itself)
        return max(shared.values(), default=0) / len(pairs) if pairs else 1.0


class _Joints:
    """Where captions can be joined: at a pair of words that both hold, or where none is, at one word."""

    def __init__(self, captions: Sequence[Words]) -> None:
        self._captions = captions
        self._places: dict[Pair, list[tuple[int, int]]] = defaultdict(list)
        for i, words in enumerate(captions):
            for j, (before, word) in enumerate(_pairs(words)[:-1], start=1):
                self._places[before, word].append((i, j))
                self._places["", word].append((i, j))

    def cross(self, first: int, rng: Rng) -> Words:
        """Join the head of caption `first` to the tail of another; `first` itself where nothing joins."""
        words = self._captions[first]
        pairs = _pairs(words)[:-1]
        for joints in (pairs, [("", word) for _, word in pairs]):
            cuts = [j for j, joint in enumerate(joints, start=1) if self._others(joint, first)]
            if cuts:
                cut = cuts[int(rng.integers(len(cuts)))]
                others = self._others(joints[cut - 1], first)
                other, at = others[int(rng.integers(len(others)))]
                return (*words[: cut + 1], *self._captions[other][at + 1 :])
        return words

    def _others(self, joint: Pair, first: int) -> list[tuple[int, int]]:
        return [place for place in self._places[joint] if place[0] != first]


class _Names:
    """The names and numbers of captions, and new ones made of their letters."""

    def __init__(self, captions: Sequence[Words]) -> None:
        counts = Counter(word for words in captions for word in {_key(word) for word in words})
        written = {word.strip() for words in captions for word in words}
        most = max(2, _NAME_SHARE * len(captions))
        self._kinds: dict[str, list[str]] = defaultdict(list)
        for word in sorted(written):
            is_capital = word != word.lower() and word.lower() not in written
            is_marked = is_capital or any(c.isdigit() for c in word)
            if is_marked and counts[word.casefold()] <= most:
                self._kinds[_kind(word)].append(word)
        self._names = {name for names in self._kinds.values() for name in names}

    def renew(self, words: Words, rng: Rng) -> Words:
        """Replace every name and number by a new one of the same kind."""
        return tuple(self._renewed(word, rng) if word.strip() in self._names else word for word in words)

    def _renewed(self, word: str, rng: Rng) -> str:
        kind = self._kinds[_kind(word.strip())]
        first, second = (kind[int(i)] for i in rng.integers(len(kind), size=2))
        space = word[: len(word) - len(word.lstrip())]
        return f"{space}{first[: (len(first) + 1) // 2]}{second[len(second) // 2 :]}"


def _kind(word: str) -> str:
    return "number" if word.isdigit() else "code" if any(c.isdigit() for c in word) else "name"
