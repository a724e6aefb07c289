"""Distinct prompts of two styles that the text alone separates."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flashbulb.audit.statistics.style import StyleGroups

COLOURS = "red blue green white black grey small large striped bright".split()
THINGS = "star moon house tree boat horse bird cup".split()
PLACES = ("the sea", "a hill", "the town", "a striped background", "the lake", "an old bridge")
FIRST_NAMES = "Ada Bruno Carla Dario Elio Fabia Gino Ilda".split()
LAST_NAMES = "Vasari Rossi Conti Moro Greco Serra Villa Longo".split()
WORKS = "BAKERY STUDIO THEATRE LIBRARY HARBOUR".split()


def _choose(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def scenes(n: int, seed: int) -> list[str]:
    """Make `n` prompts with small letters and articles: "a red star over the sea with a blue cup"."""
    rng = np.random.default_rng([seed, 0])
    texts: dict[str, None] = {}
    while len(texts) < n:
        first, second = (f"a {_choose(rng, COLOURS)} {_choose(rng, THINGS)}" for _ in range(2))
        texts[f"{first} over {_choose(rng, PLACES)} with {second}"] = None
    return list(texts)


def titles(n: int, seed: int) -> list[str]:
    """Make `n` prompts with capitals, names and years: "BAKERY of Ada Vasari | Postcard #1955 (PRINT)"."""
    rng = np.random.default_rng([seed, 1])
    texts: dict[str, None] = {}
    while len(texts) < n:
        name = f"{_choose(rng, FIRST_NAMES)} {_choose(rng, LAST_NAMES)}"
        texts[f"{_choose(rng, WORKS)} of {name} | Postcard #{rng.integers(1900, 2000)} (PRINT)"] = None
    return list(texts)


def is_new_style(groups: StyleGroups) -> npt.NDArray[np.bool_]:
    """Return whether a candidate is of a style that the reference lacks: [prompt]."""
    return np.asarray(groups.candidate_group >= groups.n_reference_groups)
