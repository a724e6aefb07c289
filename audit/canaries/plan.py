"""Plan canaries: their tiers, their twins, and the coin flips that decide which of them are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flashbulb.audit.canaries.captions import GROUP_SIZE, DrawnCaptions
from flashbulb.audit.canaries.errors import CanaryError

SHARED = "shared"
FEWEST_IN_TIER = 9
"""Canaries of a tier, at least: the guesses of fewer show nothing about ε, even if all are right."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Canaries that are repeated equally often.

    Args:
        name: such as `16x`, or `shared`.
        repeats: how often a canary that is in stands in the training set.
        is_shared: groups of these canaries share a phrase of their captions; none is repeated.
        n: number of canaries, without their twins.
    """

    name: str
    repeats: int
    is_shared: bool
    n: int


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted pair of caption and image.

    Args:
        canary_id: `canary-000`, or `twin-000` for the twin of that canary.
        group: canaries of the same group share a phrase; None on its own.
        is_twin: drawn like the canary, and never trained on: no coin decides it.
        image: file name in the folder of canaries.
        sha256: of that file.
    """

    canary_id: str
    tier: str
    repeats: int
    group: str | None
    is_twin: bool
    caption: str
    image: str
    sha256: str


def plan_tiers(n_canaries: int, repeats: Sequence[int], *, has_shared: bool) -> tuple[Tier, ...]:
    """Divide canaries among the tiers; where they do not divide equally, the most repeated tier has the rest.

    Raises:
        CanaryError: a tier would have too few.
    """
    ordered = sorted(set(repeats))
    n_tiers = len(ordered) + has_shared
    each = n_canaries // n_tiers
    n_shared = each // GROUP_SIZE * GROUP_SIZE if has_shared else 0
    if min([each, n_shared] if has_shared else [each]) < FEWEST_IN_TIER:
        raise CanaryError(
            f"{n_canaries} canaries in {n_tiers} tiers are {each} a tier; plant at least "
            f"{n_tiers * (3 * GROUP_SIZE if has_shared else FEWEST_IN_TIER)}, or name fewer --repeats"
        )
    tiers = [Tier(f"{times}x", times, False, each) for times in ordered[:-1]]
    rest = n_canaries - n_shared - sum(tier.n for tier in tiers)
    tiers.append(Tier(f"{ordered[-1]}x", ordered[-1], False, rest))
    return (*tiers, *([Tier(SHARED, 1, True, n_shared)] if has_shared else []))


def name_canaries(tiers: Sequence[Tier], drawn: DrawnCaptions, sha256s: Sequence[str]) -> tuple[Canary, ...]:
    """Give each canary and each twin its caption and its image, in the order in which they were drawn.

    Args:
        sha256s: of the image files `image_name(0)`, `image_name(1)` and so on.
    """
    single, groups = iter(drawn.single), iter(drawn.groups)
    canaries: list[Canary] = []
    first = 0
    for tier in tiers:
        for kind in ("canary", "twin"):
            captions = _captions_of(tier, single, groups)
            for index, (caption, group) in enumerate(captions):
                number, name = len(canaries), f"{kind}-{first + index:03d}"
                group_name = None if group is None else f"{kind}-group-{group}"
                made = (caption, image_name(number), sha256s[number])
                canaries.append(Canary(name, tier.name, tier.repeats, group_name, kind == "twin", *made))
        first += tier.n
    return tuple(canaries)


def _captions_of(tier: Tier, single: Iterator[str], groups: Iterator[tuple[str, ...]]) -> list[tuple[str, int | None]]:
    """Take the captions of a tier, each with the number of its group, if any."""
    if not tier.is_shared:
        return [(next(single), None) for _ in range(tier.n)]
    return [(caption, group) for group in range(tier.n // GROUP_SIZE) for caption in next(groups)]


def image_name(number: int) -> str:
    """Return the file name of a canary's image."""
    return f"{number:04d}.png"


def flip_coins(canaries: Sequence[Canary], seed: int) -> dict[str, bool]:
    """Flip a fair coin for each canary: True is in the training set. Twins have no coin.

    No flip is ever drawn again: the bound on ε rests on their being fair and independent.
    """
    flipped = [canary.canary_id for canary in canaries if not canary.is_twin]
    coins = np.random.default_rng([seed, 3]).random(len(flipped)) < 0.5
    return dict(zip(flipped, coins.tolist(), strict=True))


def are_in(canaries: Sequence[Canary], coins: Mapping[str, bool]) -> list[bool]:
    """Return which of the canaries and twins are in the training set."""
    return [coins.get(canary.canary_id, False) for canary in canaries]
