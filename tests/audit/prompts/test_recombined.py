"""Made prompts are new, keep the mix of styles, and repeat neither a given prompt nor its names."""

import csv
import re
from itertools import pairwise

import numpy as np
import pytest

from flashbulb.audit.planted.paths import CAPTIONS
from flashbulb.audit.prompts.recombined import TooFewPartsError, recombine


@pytest.fixture(scope="module")
def given() -> list[str]:
    with CAPTIONS.open(encoding="utf-8") as file:
        return [row["prompt"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def made(given: list[str]) -> list[str]:
    return recombine(given, 300, np.random.default_rng(0))


def pairs(text: str) -> set[tuple[str, str]]:
    return set(pairwise(re.findall(r"\w+|[^\w\s]+", text.casefold())))


def nearest(text: str, others: list[str]) -> float:
    """Slow oracle: the largest share of the pairs of words that another text holds."""
    own = pairs(text)
    return max(len(own & pairs(other)) / len(own) for other in others if other != text)


def test_made_prompts_are_new_and_distinct(given: list[str], made: list[str]) -> None:
    assert len(set(made)) == len(made) == 300
    assert not {text.casefold() for text in made} & {text.casefold() for text in given}


def test_made_prompts_keep_the_mix_of_styles(given: list[str], made: list[str]) -> None:
    shares = [sum("background" in text for text in texts) / len(texts) for texts in (given, made)]
    assert abs(shares[0] - shares[1]) < 0.06


def test_no_made_prompt_is_nearer_to_a_given_one_than_those_are_to_each_other(
    given: list[str], made: list[str]
) -> None:
    largest = max(nearest(text, given) for text in given[:150])
    assert all(nearest(text, given) <= max(0.5, largest) + 1e-9 for text in made[:60])


def test_names_of_given_prompts_are_not_repeated(given: list[str], made: list[str]) -> None:
    def names(texts: list[str]) -> list[str]:
        return [word for text in texts if text.isascii() for word in re.findall(r"\b[A-Z]\w{4,}", text)]

    known = set(names(given))
    repeated = [name for name in names(made) if name in known]
    assert len(names(made)) > 100
    assert len(repeated) < 0.03 * len(names(made))  # two halves of one name, or of two alike


def test_training_captions_are_avoided(given: list[str], made: list[str]) -> None:
    """What was made once is not made again if it is a training caption."""
    again = recombine(given, 100, np.random.default_rng(0), avoid=made)
    assert not set(again) & set(made)


def test_the_same_seed_makes_the_same_prompts(given: list[str]) -> None:
    first, second, other = (recombine(given, 20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second != other


@pytest.mark.parametrize("texts", [[], ["star"], ["a star", "one moon"], ["海边的旧灯塔", "红色小船"]])
def test_prompts_without_common_parts_are_refused(texts: list[str]) -> None:
    with pytest.raises(TooFewPartsError, match="give 0 new captions, not 4"):
        recombine(texts, 4, np.random.default_rng(0))
