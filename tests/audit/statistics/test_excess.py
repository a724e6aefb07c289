"""The excess is 0 for clean prompts, in spreads of the reference, and its upper end sees a few copied captions."""

import numpy as np
import pytest

from flashbulb.audit.statistics.excess import Excess, StyledScores, measure_excess


def excess_of(candidates: np.ndarray, reference: np.ndarray) -> Excess | None:
    """Measure the excess of prompts of one style."""
    return measure_excess(*(StyledScores(scores, np.zeros(len(scores), int)) for scores in (candidates, reference)))


def test_prompts_scored_as_the_reference_have_no_excess() -> None:
    scores = np.random.default_rng(0).normal(size=500)
    assert excess_of(scores, scores) == (0, 0)


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (7, -3), (0.01, 100)])
def test_the_excess_does_not_depend_on_unit_and_origin_of_the_scores(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    reference, candidates = rng.normal(size=20_000), rng.normal(2, size=20_000)
    excess = excess_of(scale * candidates + shift, scale * reference + shift)
    assert excess is not None
    assert excess == pytest.approx((2, 2), abs=0.15)  # standard deviations, as the noise is normal


def test_a_few_copied_captions_lift_the_upper_end_and_not_the_median() -> None:
    rng = np.random.default_rng(0)
    reference, candidates = rng.normal(size=1000), rng.normal(size=1000)
    candidates[:20] += 8
    excess = excess_of(candidates, reference)
    assert excess is not None
    assert abs(excess.median) < 0.2
    assert excess.top > 4


@pytest.mark.parametrize(("candidates", "reference"), [([], [1, 2]), ([1, 2], []), ([1, 2], [3, 3, 3])])
def test_without_a_level_to_compare_with_there_is_none(candidates: list[float], reference: list[float]) -> None:
    assert excess_of(np.array(candidates, dtype=float), np.array(reference, dtype=float)) is None


def test_clean_prompts_have_none_though_styles_differ_in_level_and_spread_and_share() -> None:
    rng = np.random.default_rng(0)
    scales, shifts = np.array([1, 20, 3]), np.array([0, 50, 9])
    shares = {"candidates": (0.1, 0.9, 0), "reference": (0.7, 0.1, 0.2)}
    sets = []
    for style_shares in shares.values():
        styles = rng.choice(3, 20_000, p=style_shares)
        sets.append(StyledScores(scales[styles] * rng.normal(size=20_000) + shifts[styles], styles))
    assert measure_excess(*sets) == pytest.approx((0, 0), abs=0.15)
