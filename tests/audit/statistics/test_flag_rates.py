"""Clean prompts are flagged at the stated rate, whatever calibrates them, and outliers among them are flagged."""

from functools import cache

import numpy as np
import pytest

from flashbulb.audit.statistics.flags import flag, flagged_at
from tests.audit.statistics.drawn_scores import FPR, NOTHING, flags, groups_of, rms_of_heavy_tails

N_DRAWS = 15
RATE_BOUNDS = (0.003, 0.02)  # around the stated 1 %, averaged over all draws


def rms_of_few_spikes(rng, n):
    """Draw spike scores of few neurons."""
    return np.sqrt(np.square(rng.laplace(size=(n, 12))).mean(axis=1))


SAMPLERS = {
    "heavy tails": rms_of_heavy_tails,
    "few spikes": rms_of_few_spikes,
    "lognormal": lambda rng, n: rng.lognormal(0, 0.3, n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "half normal": lambda rng, n: np.abs(rng.normal(size=n)),
}


NOT_LIGHT = ["heavy tails", "lognormal"]
"""Their tails look exponential below the fence; lighter tails are flagged less often than stated."""


@cache
def self_calibrated(kind, share):
    """Return the flagged shares of clean and of planted candidates that calibrate themselves, over many draws."""
    rng = np.random.default_rng(2)
    clean, planted = [], []
    for _ in range(N_DRAWS):
        scores = SAMPLERS[kind](rng, 1000)
        is_planted = np.arange(1000) < share * 1000
        scores[is_planted] = scores.max() * (3 + rng.random(is_planted.sum()))  # beyond the fence of light tails too
        flagged = flags(scores, NOTHING, groups_of(0, 1000, n_reference_groups=0)).flagged
        clean.append(flagged[~is_planted].mean())
        planted.append(flagged[is_planted].mean() if share else 1.0)
    return float(np.mean(clean)), float(np.mean(planted))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_clean_prompts_compared_with_a_reference_are_flagged_at_the_stated_rate(kind):
    rng = np.random.default_rng(6)
    styles = groups_of(600, 150, 150, n_reference_groups=2)
    drawn = [flag(SAMPLERS[kind](rng, 300), SAMPLERS[kind](rng, 600), styles, FPR, 0.0) for _ in range(N_DRAWS)]
    rates = [(p <= FPR).mean() for p, _ in drawn]
    assert RATE_BOUNDS[0] <= np.mean(rates) <= RATE_BOUNDS[1]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1])
@pytest.mark.parametrize("kind", NOT_LIGHT)
def test_clean_candidates_that_calibrate_themselves_are_flagged_at_about_the_stated_rate(kind, share):
    assert RATE_BOUNDS[0] <= self_calibrated(kind, share)[0] <= RATE_BOUNDS[1]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1])
@pytest.mark.parametrize("kind", [kind for kind in SAMPLERS if kind not in NOT_LIGHT])
def test_clean_candidates_of_light_tails_that_calibrate_themselves_are_not_flagged_more_often_than_stated(kind, share):
    assert self_calibrated(kind, share)[0] <= RATE_BOUNDS[1]


@pytest.mark.parametrize("share", [0.001, 0.01])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_outliers_among_candidates_that_calibrate_themselves_are_flagged(kind, share):
    assert self_calibrated(kind, share)[1] == 1


@pytest.mark.parametrize("kind", ["heavy tails", "few spikes", "lognormal"])
def test_a_tenth_of_outliers_is_flagged_where_clean_scores_lie_close_together(kind):
    """Where clean scores spread widely, as exponential ones do, so many outliers look like their tail."""
    assert self_calibrated(kind, 0.1)[1] == 1


def differences(rng, n):
    """Draw the spike scores of clean prompts on a base, and on a fine-tune that is like it."""
    base = rms_of_heavy_tails(rng, n)
    return base * rng.lognormal(0, 0.05, n), base


@pytest.mark.parametrize("has_reference", [True, False])
def test_differences_of_clean_prompts_are_flagged_at_the_stated_rate(has_reference):
    rng, shares = np.random.default_rng(6), []
    for _ in range(N_DRAWS):
        (own, base), (own_reference, base_reference) = differences(rng, 1000), differences(rng, 400)
        styles = groups_of(400, 1000) if has_reference else groups_of(0, 1000, n_reference_groups=0)
        own[:30] += 3  # learned by the fine-tune
        own[30:60] += 3
        base[30:60] += 3  # known by both
        base_scores = (base, base_reference if has_reference else NOTHING)
        scored = flagged_at([], {}, (own, own_reference if has_reference else NOTHING), styles, FPR, base_scores, 0)
        assert scored.flagged[:30].all()
        assert scored.known_by_base[30:60].all()
        shares.append(scored.flagged[60:].mean())
        assert np.array_equal(scored.flagged, scored.spike_score >= scored.threshold)
    assert RATE_BOUNDS[0] <= np.mean(shares) <= RATE_BOUNDS[1]


def test_what_the_base_knows_is_what_it_flags_alone():
    rng = np.random.default_rng(7)
    (own, base), (own_reference, base_reference) = differences(rng, 200), differences(rng, 200)
    base[5] = 20
    styles = groups_of(200, 200)
    scored = flagged_at([], {}, (own, own_reference), styles, FPR, (base, base_reference), 0)
    assert np.array_equal(scored.known_by_base, flags(base, base_reference, styles).flagged)
    assert np.array_equal(scored.detectors["spike_score_finetune"] - scored.detectors["spike_score_base"], own - base)
    assert scored.spike_score[5] < -10
    assert not scored.flagged[5]
    assert flags(own, own_reference, styles).known_by_base is None
