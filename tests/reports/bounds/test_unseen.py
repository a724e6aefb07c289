"""The estimate of what was not found yet holds the truth, whether chances are alike or not."""

import numpy as np
import pytest

from flashbulb.reports.bounds.unseen import estimate_unseen
from tests.cases import each_with_one


@pytest.mark.parametrize(("n_finds", "power"), each_with_one([20, 60, 180, 500], [0, 1]))
def test_interval_holds_the_chance_that_the_next_find_is_new(n_finds: int, power: int) -> None:
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, 81) ** power
    chances /= chances.sum()
    errors, held = [], []
    for _ in range(300):
        times = np.bincount(rng.choice(80, n_finds, p=chances), minlength=80)
        left = chances[times == 0].sum()
        unseen = estimate_unseen([int(n) for n in times if n])
        assert unseen is not None
        assert 0 <= unseen.low <= unseen.share <= unseen.high <= 1
        errors.append(unseen.share - left)
        held.append(unseen.low <= left <= unseen.high)
    assert abs(np.mean(errors)) < 0.02
    assert np.mean(held) > 0.88


def test_nothing_found_is_no_estimate() -> None:
    assert estimate_unseen([]) is None


def test_one_find_leaves_everything_open() -> None:
    unseen = estimate_unseen([1])
    assert unseen is not None
    assert unseen.share == unseen.high == 1


def test_finds_of_one_thing_alone_still_leave_room() -> None:
    unseen = estimate_unseen([20])
    assert unseen is not None
    assert (unseen.share, unseen.low) == (0, 0)
    assert 0.1 < unseen.high < 0.2
