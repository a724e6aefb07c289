"""Images are out by rank among the controls: at most the stated share of never-trained images exceeds the threshold."""

from math import floor, inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashbulb.audit.pull.evidence import Evidence, evidence_of, is_out, p_value, score_of, threshold_of

PLANTED = 0.7


@pytest.mark.parametrize("n_controls", [49, 50, 98, 99, 149, 1000])
@pytest.mark.parametrize("max_false", [0.02, 0.05, 0.1])
def test_an_exchangeable_image_exceeds_the_threshold_at_most_as_often_as_stated(
    n_controls: int, max_false: float
) -> None:
    """Of n + 1 exchangeable images, each one in turn is judged by the others: how many exceed their threshold?"""
    scores = (1.0 + np.random.default_rng(n_controls).permutation(n_controls + 1)).tolist()
    n_above = 0
    for i, score in enumerate(scores):
        threshold = threshold_of([*scores[:i], *scores[i + 1 :]], max_false, PLANTED)
        assert threshold.is_shown
        n_above += score > threshold.value
    assert n_above == floor(max_false * (n_controls + 1) + 1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=49, max_size=120), st.integers(1, 10))
def test_the_threshold_and_the_p_value_agree(controls: list[int], score: int) -> None:
    exceeds = score > threshold_of(controls, 0.02, PLANTED).value
    p = p_value(score, controls)
    assert p is not None
    assert exceeds == (p <= 0.02)


@pytest.mark.parametrize(("controls", "expected"), [([], PLANTED), ([0.1] * 48, PLANTED), ([0.1, 2.5], 2.5)])
def test_too_few_controls_must_all_be_exceeded_and_the_planted_threshold_too(
    controls: list[float], expected: float
) -> None:
    threshold = threshold_of(controls, 0.02, PLANTED)
    assert (threshold.value, threshold.n_controls, threshold.is_shown) == (expected, len(controls), False)


def test_an_image_is_out_by_its_copies_and_its_score_together() -> None:
    threshold = threshold_of([], 0.02, PLANTED)
    enough, too_few = (Evidence(n_samples=6, n_copies=n, closeness=0.5, best=0) for n in (5, 4))
    assert is_out(score_of(0.3, enough, 5), threshold)
    assert not is_out(score_of(0.2, enough, 5), threshold)
    assert not is_out(score_of(9.0, too_few, 5), threshold)


def test_where_no_control_comes_out_an_image_still_has_to_be_known_or_near() -> None:
    lowest = threshold_of([-inf] * 99, 0.02, PLANTED)
    assert (lowest.value, lowest.is_shown) == (0, True)
    assert is_out(0.1, lowest)
    assert not is_out(0.0, lowest)
    assert not is_out(-inf, lowest)


def test_copies_are_counted_and_near() -> None:
    rng = np.random.default_rng(0)
    image, other = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    all_copies = evidence_of(np.stack([image, image]), image)
    one_copy = evidence_of(np.stack([other, image]), image)
    none = evidence_of(np.stack([other, other]), image)
    assert [e.n_copies for e in (all_copies, one_copy, none)] == [2, 1, 0]
    assert (one_copy.n_samples, one_copy.best) == (2, 1)
    assert all_copies.closeness > one_copy.closeness > 0 > none.closeness


def test_a_flat_image_never_comes_near() -> None:
    """Any grey sample lies near to a grey image; its own mean colour lies nearer."""
    flat = np.full((16, 16, 3), 128, dtype=np.uint8)
    evidence = evidence_of(np.stack([flat + 3, flat]), flat)
    assert evidence.n_copies == 0
    assert evidence.closeness <= 0
