"""Images that come back are evidence only where controls show how rarely they do so by chance."""

import numpy as np
import pytest

from flashbulb.reports.bounds.recurrence import MAX_OF_CONTROLS, Recurring


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 10, 60, 500])
def test_what_flagged_prompts_share_with_controls_is_no_evidence(rate, n):
    draws = np.random.default_rng(0).binomial(n, rate, size=(2000, 2))
    accepted = np.mean([Recurring(int(flagged), n, int(controls), n).is_evidence for flagged, controls in draws])
    assert accepted <= 0.001


def test_a_difference_that_controls_make_sure_of_is_evidence():
    assert Recurring(30, 60, 0, 60).is_evidence
    assert Recurring(30, 60, 1, 60).is_evidence
    assert Recurring(10, 34, 0, 34).is_evidence
    assert not Recurring(9, 34, 0, 34).is_evidence


@pytest.mark.parametrize("n_controls", [0, 1, 8])
def test_few_controls_prove_nothing(n_controls):
    assert not Recurring(100, 100, 0, n_controls).is_evidence


def test_more_controls_with_images_never_help():
    for n in (20, 60, 200):
        states = [Recurring(50, 60, controls, n).is_evidence for controls in range(n + 1)]
        assert states == sorted(states, reverse=True)
        assert not any(states[int(MAX_OF_CONTROLS * n) + 1 :])


def test_nothing_that_comes_back_is_no_evidence():
    assert not Recurring(0, 60, 0, 60).is_evidence
