"""Every image of a prompt is looked at by itself: several memories of one prompt, several prompts of one memory."""

from collections.abc import Mapping, Sequence

import pytest

from flashbulb.audit.recover.memories import (
    Memory,
    Sampled,
    agreement_limit,
    distinct_memories,
    number_findings_,
    sampled_outcomes,
)
from flashbulb.audit.recover.outcome import Outcome, judge_found, nearest_of
from flashbulb.audit.training_images.resemblance import Nearest
from tests.audit.noisy_images import image, images
from tests.audit.signs import CONVINCING


def near(index: int, distance: float, kind: str | None = "verbatim") -> Nearest:
    return Nearest(index, f"{index}.png", distance, False, kind)


def judged(sampled: Sampled, signs=None) -> Outcome:
    return judge_found(sampled.images, sampled.nearest, None, signs, kinship=None, source="plain")


def memory(verdict: str, seed: int, index: int | None = None, strategy: str = "sample") -> Memory:
    nearest = None if index is None else near(index, 0.01)
    return Memory(strategy, Outcome(0, 1.0, nearest, None, verdict), 1, 4, image(seed), None, None)


def counted(sampled: Sampled, outcome: Outcome, near_duplicates: Mapping[int, Sequence[int]]) -> int:
    return sampled.count(
        outcome, sampled.images[outcome.best], agreement_limit(True), lambda index: near_duplicates.get(index, ())
    )


def test_samples_of_near_duplicates_show_all_of_them():
    """Which of them a sample is nearest to is chance, so each would have a part of its probability."""
    sampled = Sampled(images(1, 1, 1, 2), [near(7, 0.1), near(3, 0.1), near(3, 0.1), near(5, 0.1)])
    shown = sampled_outcomes(sampled, judged(sampled))
    assert [outcome.nearest.index for outcome in shown] == [3, 7, 5]
    assert [counted(sampled, outcome, {3: [7], 7: [3, 8]}) for outcome in shown] == [3, 3, 1]


def test_a_prompt_that_gives_several_training_images_has_as_many_memories():
    found = [near(7, 0.1), near(3, 0.02), near(9, 0.5, None), near(3, 0.01)]
    sampled = Sampled(images(1, 2, 3, 2), found)
    outcome = judged(sampled)
    shown = sampled_outcomes(sampled, outcome)
    assert [(shown_outcome.best, shown_outcome.nearest.index) for shown_outcome in shown] == [(3, 3), (0, 7)]
    assert (outcome.best, outcome.nearest.index) == (3, 3)
    assert [counted(sampled, shown_outcome, {}) for shown_outcome in shown] == [2, 1]


def test_images_that_copy_none_are_no_memories_beside_those_that_do():
    sampled = Sampled(images(1, 2, 2, 2), [near(7, 0.1), near(3, 0.5, None), near(3, 0.5, None), near(3, 0.5, None)])
    assert [outcome.nearest.index for outcome in sampled_outcomes(sampled, judged(sampled, CONVINCING))] == [7]


def test_without_training_images_agreement_shows_one_image():
    sampled = Sampled(images(5, 6, 5, 5), nearest_of(images(5, 6, 5, 5), None))
    (shown,) = sampled_outcomes(sampled, judged(sampled, CONVINCING))
    assert (shown.verdict, counted(sampled, shown, {})) == ("confirmed", 3)
    assert sampled_outcomes(sampled, judged(sampled)) == []


def test_prompts_that_give_the_same_training_image_share_a_finding():
    prompts = [[memory("confirmed", 1, 4), memory("confirmed", 2, 7)], [], [memory("confirmed", 3, 7)]]
    number_findings_(prompts)
    assert [[m.finding for m in memories] for memories in prompts] == [[0, 1], [], [1]]


def test_likely_images_are_told_apart_by_distance():
    prompts = [[memory("likely", seed)] for seed in (1, 2, 1, 2)]
    number_findings_(prompts)
    assert [memories[0].finding for memories in prompts] == [0, 1, 0, 1]


def test_a_likely_image_joins_the_confirmed_one_that_it_repeats():
    prompts = [[memory("confirmed", 1, 4)], [memory("likely", 1, 9)]]
    number_findings_(prompts)
    assert [memories[0].finding for memories in prompts] == [0, 0]


def test_no_two_memories_of_a_prompt_are_one_finding():
    """Both are near the image of the first prompt, which has no training image to tell them apart."""
    prompts = [[memory("likely", 1)], [memory("confirmed", 1, 4), memory("confirmed", 1, 5)]]
    number_findings_(prompts)
    assert [[m.finding for m in memories] for memories in prompts] == [[0], [0, 1]]


@pytest.mark.parametrize("last", ["likely", "confirmed"])
def test_an_image_that_several_strategies_bring_back_counts_once_by_its_strongest_verdict(last):
    memories = [memory("likely", 1), memory("likely", 2), memory(last, 1, strategy="ascend")]
    kept = distinct_memories(memories)
    assert len(kept) == 2
    assert (kept[0].outcome.verdict, kept[0].strategy) == (last, "sample" if last == "likely" else "ascend")
