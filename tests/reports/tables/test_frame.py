"""A frame says which population a share is of, and an impossible frame is noticed."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from flashbulb.reports.tables.frame import Frame, frame_fault, frame_line, frame_of, frame_sentence

DRAWN = frame_of(300, 5000, "ab", seed=7, population=None, targeted=False)


def test_a_whole_file_is_a_census_of_itself() -> None:
    frame = frame_of(40, 40, "ab", seed=7, population=None, targeted=False)
    assert frame == Frame("census", 40, 40, 40, None, "ab")
    assert frame.allows_shares
    assert frame_line(frame) is None
    assert "of the 40 prompts of the file and of no others" in frame_sentence(frame)


def test_a_draw_speaks_of_the_file_and_a_random_file_of_its_population() -> None:
    assert Frame("random", 300, 5000, 5000, 7, "ab") == DRAWN
    assert "300 of the 5,000 distinct prompts of the prompt file were drawn at random (seed 7)" in frame_sentence(DRAWN)
    frame = frame_of(300, 5000, "ab", seed=7, population=90_000, targeted=False)
    assert (frame.kind, frame.n_population) == ("random", 90_000)
    assert frame_sentence(frame).endswith(
        "random sample of 90,000 prompts: shares, with their intervals, are of these."
    )
    assert frame_of(5000, 5000, "ab", seed=7, population=90_000, targeted=False).seed is None


@pytest.mark.parametrize("n_prompts", [300, 5000])
def test_a_targeted_list_speaks_of_no_population_even_if_drawn_from(n_prompts: int) -> None:
    frame = frame_of(n_prompts, 5000, "ab", seed=7, population=None, targeted=True)
    assert not frame.allows_shares
    assert frame.n_population is None
    assert "say nothing about the training captions as a whole" in frame_sentence(frame)


def test_every_frame_that_is_made_is_possible() -> None:
    for n_prompts, population, targeted in product((300, 5000), (None, 5000, 90_000), (False, True)):
        frame = frame_of(n_prompts, 5000, "ab", seed=7, population=population, targeted=targeted)
        assert frame_fault(frame, n_prompts, "ab") is None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "census"},
        {"kind": "targeted"},
        {"n_prompts": 299},
        {"n_file": 200},
        {"n_file": 300},
        {"n_population": None},
        {"n_population": 4999},
        {"seed": None},
        {"sha256": "cd"},
    ],
)
def test_a_changed_frame_is_impossible(change: dict[str, Any]) -> None:
    """Each change would let a verdict speak of more than was drawn."""
    assert frame_fault(replace(DRAWN, **change), 300, "ab") is not None
