"""Captions of canaries are new, in the style of the data set, and their words betray nothing."""

from collections import Counter

import numpy as np
import pytest

from flashbulb.audit.canaries.captions import FEWEST_CAPTIONS, GROUP_SIZE, draw_captions
from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.planted.captions import draw_unique_, poster_title
from flashbulb.audit.prompts.held import Prompt
from flashbulb.audit.statistics.style import text_only_auc


def prompts_of(texts: list[str], n_duplicates: int = 1) -> list[Prompt]:
    return [Prompt(str(row), text, "captions.txt", row, n_duplicates) for row, text in enumerate(texts)]


@pytest.fixture(scope="module")
def titles() -> list[str]:
    return draw_unique_(poster_title, 300, np.random.default_rng(2), {""})


def test_captions_are_new_and_made_of_the_words_of_the_data_set(titles: list[str]) -> None:
    drawn = draw_captions(prompts_of(titles), 60, 3, 0)
    captions = [*drawn.single, *(caption for group in drawn.groups for caption in group)]
    assert len(set(captions)) == 60 + 3 * GROUP_SIZE
    assert not set(captions) & set(titles)
    assert {word for caption in captions for word in caption.split()} <= {w for t in titles for w in t.split()}


def test_the_same_seed_draws_the_same_captions(titles: list[str]) -> None:
    assert draw_captions(prompts_of(titles), 20, 2, 5) == draw_captions(prompts_of(titles), 20, 2, 5)
    assert draw_captions(prompts_of(titles), 20, 2, 5) != draw_captions(prompts_of(titles), 20, 2, 6)


def test_words_tell_canaries_from_the_data_set_no_better_than_chance(titles: list[str]) -> None:
    drawn = draw_captions(prompts_of(titles), 100, 0, 3)
    assert drawn.auc <= drawn.limit < 0.57
    assert text_only_auc(drawn.single, titles, 11) <= drawn.limit  # with folds that the draw did not see


def test_words_tell_canaries_that_are_in_from_those_that_are_out_no_better_than_chance(titles: list[str]) -> None:
    aucs = []
    for seed in range(5):
        drawn, coins = (
            draw_captions(prompts_of(titles), 80, 0, seed).single,
            np.random.default_rng(seed).random(80) < 0.5,
        )
        inside, outside = (np.array(drawn)[coins == side].tolist() for side in (True, False))
        aucs.append(text_only_auc(inside, outside, 0))
    assert abs(np.mean(aucs) - 0.5) < 0.1


def test_canaries_of_a_group_share_a_phrase(titles: list[str]) -> None:
    for group in draw_captions(prompts_of(titles), 20, 5, 1).groups:
        pairs = Counter(pair for c in group for pair in {*zip(c.split(), c.split()[1:], strict=False)})
        assert max(pairs.values()) == GROUP_SIZE


def test_captions_that_stand_in_the_data_set_several_times_are_not_joined() -> None:
    once = draw_unique_(poster_title, 200, np.random.default_rng(3), {""})
    often = [f"zzz{i} qqq{i} xxx{i} yyy{i}" for i in range(60)]
    drawn = draw_captions([*prompts_of(once), *prompts_of(often, 5)], 40, 2, 0)
    assert not any("zzz" in caption or "qqq" in caption for caption in drawn.single)


@pytest.mark.parametrize("texts", [["a b c"] * (FEWEST_CAPTIONS - 1), ["one two"] * 200])
def test_too_few_or_too_short_captions_are_refused(texts: list[str]) -> None:
    with pytest.raises(CanaryError, match="give more captions"):
        draw_captions(prompts_of(texts), 20, 0, 0)


def test_captions_that_leave_no_new_one_are_refused() -> None:
    with pytest.raises(CanaryError, match="no new one"):
        draw_captions(prompts_of(["x y z"] * FEWEST_CAPTIONS), 20, 0, 0)
