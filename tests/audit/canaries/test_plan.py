"""Tiers divide the canaries, every canary has a twin, and coins are fair, independent and reproducible."""

from itertools import pairwise

import pytest
from scipy import stats

from flashbulb.audit.canaries.captions import GROUP_SIZE, DrawnCaptions
from flashbulb.audit.canaries.errors import CanaryError
from flashbulb.audit.canaries.plan import Canary, Tier, flip_coins, name_canaries, plan_tiers


def some_canaries(n: int) -> list[Canary]:
    return [Canary(f"canary-{i}", "1x", 1, None, False, f"caption {i}", f"{i}.png", "") for i in range(n)]


def test_tiers_divide_the_canaries() -> None:
    assert plan_tiers(64, (16, 1, 4), has_shared=True) == (
        Tier("1x", 1, False, 16),
        Tier("4x", 4, False, 16),
        Tier("16x", 16, False, 16),
        Tier("shared", 1, True, 16),
    )


@pytest.mark.parametrize("n", [48, 64, 67, 131])
def test_no_canary_is_left_over_and_groups_are_complete(n: int) -> None:
    tiers = plan_tiers(n, (1, 4, 16), has_shared=True)
    assert sum(tier.n for tier in tiers) == n
    assert tiers[-1].n % GROUP_SIZE == 0


@pytest.mark.parametrize(("n", "has_shared"), [(26, False), (47, True)])
def test_tiers_that_are_too_small_are_refused_with_the_number_that_is_enough(n: int, has_shared: bool) -> None:
    with pytest.raises(CanaryError, match="plant at least") as refused:
        plan_tiers(n, (1, 4, 16), has_shared=has_shared)
    enough = int(str(refused.value).partition("plant at least ")[2].partition(",")[0])
    assert enough == n + 1
    assert plan_tiers(enough, (1, 4, 16), has_shared=has_shared)


def test_every_canary_has_a_twin_of_its_tier_with_a_caption_and_an_image_of_its_own() -> None:
    tiers = plan_tiers(48, (1, 4, 16), has_shared=True)
    n_single = 2 * sum(tier.n for tier in tiers if not tier.is_shared)
    groups = tuple(tuple(f"group {g} {i}" for i in range(GROUP_SIZE)) for g in range(2 * tiers[-1].n // GROUP_SIZE))
    drawn = DrawnCaptions(tuple(f"caption {i}" for i in range(n_single)), groups, 0.5, 0.55)
    canaries = name_canaries(tiers, drawn, [str(i) for i in range(96)])
    names = {canary.canary_id: canary for canary in canaries}
    assert len(names) == len({c.caption for c in canaries}) == len({c.image for c in canaries}) == 96
    for canary in (canary for canary in canaries if not canary.is_twin):
        twin = names[canary.canary_id.replace("canary", "twin")]
        assert (twin.tier, twin.repeats, twin.is_twin) == (canary.tier, canary.repeats, True)
    captions = [canary.caption for canary in canaries if canary.group == "canary-group-0"]
    assert captions == list(groups[0])


def test_coins_are_those_of_their_seed_and_twins_have_none() -> None:
    canaries = [*some_canaries(20), Canary("twin-0", "1x", 1, None, True, "twin", "t.png", "")]
    coins = flip_coins(canaries, 7)
    assert coins == flip_coins(canaries, 7) != flip_coins(canaries, 8)
    assert coins.keys() == {f"canary-{i}" for i in range(20)}


def test_coins_are_fair_and_independent() -> None:
    canaries = some_canaries(16)
    flips = [list(flip_coins(canaries, seed).values()) for seed in range(500)]
    heads = sum(map(sum, flips))
    assert stats.binomtest(heads, 500 * 16).pvalue > 0.001
    repeated = sum(a == b for coins in flips for a, b in pairwise(coins))
    assert stats.binomtest(repeated, 500 * 15).pvalue > 0.001
