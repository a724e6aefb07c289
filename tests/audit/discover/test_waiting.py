"""Closing looks are taken at the most promising first, and more of them at the kind that brings more."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashbulb.audit.discover.state import NOT_SHOWN, Discovery, SearchState
from flashbulb.audit.discover.waiting import Waiting, by_turns
from flashbulb.audit.model.conditioning import Conditioning


def candidate(start: int, level: int, familiarity: float | None) -> Discovery:
    image = np.full((1, 32, 32, 3), level, dtype=np.uint8)
    return Discovery(NOT_SHOWN, image, Conditioning({}), 0, start, 1, 1, familiarity)


def test_the_most_promising_of_each_kind_is_looked_at_first() -> None:
    surer = np.stack([np.full((32, 32, 3), level, dtype=np.uint8) for level in (10, 11)])
    vaguer = np.stack([np.full((32, 32, 3), level, dtype=np.uint8) for level in (90, 190)])
    state = SearchState(torch.zeros(0, 4), {}, glimpses={(0, 0): vaguer, (0, 1): surer})
    state.discoveries = [
        candidate(0, 90, None),
        candidate(1, 10, None),
        candidate(0, 30, 0.5),
        candidate(1, 60, 2.5),
        candidate(2, 120, 1.5),
    ]
    state.times_found = [0] * 5
    waiting = Waiting()
    waiting.renew_(state)
    assert waiting.order([]) == [3, 1, 4, 0, 2]
    assert waiting.order([3, 1]) == [4, 0, 2]
    state.discoveries[1] = replace(state.discoveries[1], outcome=replace(NOT_SHOWN, verdict="likely"))
    state.times_found[1] = 1
    waiting.renew_(state)
    assert waiting.order([]) == [1, 3, 0, 4, 2]


def test_the_kind_that_brought_more_is_looked_at_more() -> None:
    waiting = Waiting()
    waiting.samples, waiting.glances = list(range(100)), list(range(100, 200))

    def n_glances() -> int:
        return sum(i >= 100 for i in waiting.order([])[:60])

    assert n_glances() == 30
    for is_new in (True, True, True, False):
        waiting.learn_(candidate(0, 0, 1.5), is_new=is_new)
    for is_new in (False, False):
        waiting.learn_(candidate(0, 0, None), is_new=is_new)
    assert n_glances() == pytest.approx(60 * (4 / 6) / (4 / 6 + 1 / 4), abs=1)
    for _ in range(100):
        waiting.learn_(candidate(0, 0, 1.5), is_new=False)
    assert 0 < n_glances() < 30


@pytest.mark.parametrize(
    ("share", "merged"), [(0.5, [10, 1, 11, 2, 12, 3]), (0.75, [10, 11, 12, 1, 2, 3]), (0.2, [10, 1, 2, 3, 11, 12])]
)
def test_two_orders_are_merged_by_their_share_without_a_loss(share: float, merged: list[int]) -> None:
    assert by_turns([1, 2, 3], [10, 11, 12], share) == merged
    assert by_turns([], [10, 11, 12], share) == [10, 11, 12]
    many = by_turns(range(1000), range(1000, 2000), share)
    for n in (10, 100, 1000):
        assert sum(i >= 1000 for i in many[:n]) == pytest.approx(share * n, abs=1)
