"""What membership scores say of canaries: guesses of their coin flips, their exposure, and a test for any difference.

Everything here is computed within a tier, whose canaries are alike but for their coin flips.
"""

from collections.abc import Sequence
from math import log2, sqrt
from statistics import NormalDist

_MOST_EXACT = 40
"""Scores up to which the rank-sum test counts every assignment; beyond, the normal approximation is accurate."""


def guess_coins(scores: Sequence[float]) -> tuple[bool | None, ...]:
    """Guess which canaries were in: the third with the highest scores in, the lowest third out, the others open.

    The number of guesses depends on the number of canaries alone, as the bound on ε requires. A third, because the
    coin may have put fewer than half of the canaries in.
    """
    order = sorted(range(len(scores)), key=lambda i: scores[i], reverse=True)
    third = len(scores) // 3
    guesses: list[bool | None] = [None] * len(scores)
    for place, i in enumerate(order):
        if place < third:
            guesses[i] = True
        elif place >= len(scores) - third:
            guesses[i] = False
    return tuple(guesses)


def n_guesses_of(n_canaries: int) -> int:
    """Return how many coin flips `guess_coins` guesses."""
    return 2 * (n_canaries // 3)


def exposure(score: float, others: Sequence[float]) -> float:
    """Return a canary's exposure in bits (Carlini et al. 2019, arXiv 1802.08232): log2 |R| − log2 of its rank in R.

    R is the canary and the `others`, which training never saw.
    """
    rank = 1 + sum(other >= score for other in others)
    return log2(len(others) + 1) - log2(rank)


def rank_sum_p_value(higher: Sequence[float], others: Sequence[float]) -> float:
    """Return the probability, if the two sets do not differ, that the first ranks as high as it does.

    The rank-sum test of Wilcoxon (1945), one-sided, with mean ranks for ties; 1 where a set is empty.
    """
    if not higher or not others:
        return 1.0
    ranks = _double_ranks([*higher, *others])
    observed = sum(ranks[: len(higher)])
    if len(ranks) <= _MOST_EXACT:
        return _exact_tail(ranks, len(higher), observed)
    n, m = len(higher), len(others)
    mean = n * (n + m + 1)
    mean_rank = sum(ranks) / len(ranks)
    variance = n * m / (n + m - 1) * sum((rank - mean_rank) ** 2 for rank in ranks) / (n + m)
    return 1.0 if variance == 0 else 1 - NormalDist().cdf((observed - 1 - mean) / sqrt(variance))


def _double_ranks(values: Sequence[float]) -> list[int]:
    """Return twice the rank of each value, counted from 1; ties share their mean rank."""
    return [1 + 2 * sum(v < value for v in values) + sum(v == value for v in values) for value in values]


def _exact_tail(ranks: Sequence[int], n: int, observed: int) -> float:
    """Return the share of the subsets of `n` ranks whose sum is at least `observed`."""
    counts: list[dict[int, int]] = [{0: 1}, *({} for _ in range(n))]  # by size: number of subsets by their sum
    for rank in ranks:
        for size in range(n, 0, -1):
            for total, count in counts[size - 1].items():
                counts[size][total + rank] = counts[size].get(total + rank, 0) + count
    return sum(count for total, count in counts[n].items() if total >= observed) / sum(counts[n].values())
