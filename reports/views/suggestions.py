"""What somebody probably meant by a misspelled word."""

from collections.abc import Iterable


def nearest_word(word: str, words: Iterable[str]) -> str | None:
    """Return the most similar of some words, None if none is similar."""
    from difflib import get_close_matches  # only where something is wrong

    return next(iter(get_close_matches(word, sorted(words), 1)), None)
