"""Prompts are flagged among prompts of their own style, at the stated false-positive rate."""

from dataclasses import replace

import numpy as np
import pytest

from flashbulb.audit.statistics.calibration import fit_null, p_values, threshold_at
from flashbulb.audit.statistics.flags import choose, flag, flagged_at
from flashbulb.audit.statistics.scores import GroupScores
from flashbulb.audit.statistics.style import StyleGroups
from tests.audit.statistics.drawn_scores import FPR, NOTHING, flags, groups_of, rms_of_heavy_tails


def test_a_style_of_high_scores_is_flagged_entirely_only_without_a_group_of_its_own():
    rng = np.random.default_rng(0)
    reference, low = rms_of_heavy_tails(rng, 300), rms_of_heavy_tails(rng, 100)
    high = 3 * rms_of_heavy_tails(rng, 100)
    high[7] *= 3
    scores = np.concatenate([low, high])
    together = flags(scores, reference, groups_of(300, 200)).flagged
    assert together[100:].all()
    apart = flags(scores, reference, groups_of(300, 100, 100)).flagged
    assert apart[107]
    assert np.delete(apart, 107).mean() <= 0.03


def test_p_values_of_a_style_equal_those_of_calibrating_on_its_group_alone():
    rng = np.random.default_rng(1)
    reference, scores = rms_of_heavy_tails(rng, 200), rms_of_heavy_tails(rng, 260)
    styles = groups_of(200, 60, 60, 80, 60, n_reference_groups=2)
    p, nulls = flag(scores, reference, styles, FPR, 0.0)
    for group in range(4):
        members = styles.candidate_group == group
        calibrating = reference[styles.reference_group == group] if group < 2 else scores[members]
        null = fit_null(calibrating, contaminated=group >= 2)
        np.testing.assert_array_equal(p[members], p_values(scores[members], null))
        assert nulls[group].threshold == threshold_at(null, FPR)
        assert (nulls[group].on_reference, nulls[group].n_calibrating) == (group < 2, len(calibrating))
        assert nulls[group].n_candidates == members.sum()


def test_scores_of_other_styles_do_not_change_a_p_value():
    rng = np.random.default_rng(2)
    reference, scores = rms_of_heavy_tails(rng, 200), rms_of_heavy_tails(rng, 200)
    styles = groups_of(200, 50, 100, 50, n_reference_groups=2)
    p, _ = flag(scores, reference, styles, FPR, 0.0)
    moved = scores.copy()
    moved[50:150] *= 100
    after, _ = flag(moved, reference, styles, FPR, 0.0)
    assert np.array_equal(after[:50], p[:50])
    assert np.array_equal(after[150:], p[150:])
    assert (after[50:150] < p[50:150]).any()


def test_order_of_the_prompts_does_not_matter():
    rng = np.random.default_rng(3)
    reference, scores = rms_of_heavy_tails(rng, 150), rms_of_heavy_tails(rng, 140)
    styles = groups_of(150, 70, 70)
    p, _ = flag(scores, reference, styles, FPR, 0.0)
    order, reference_order = rng.permutation(140), rng.permutation(150)
    shuffled = StyleGroups(styles.reference_group[reference_order], styles.candidate_group[order], 1)
    after, _ = flag(scores[order], reference[reference_order], shuffled, FPR, 0.0)
    np.testing.assert_array_equal(after, p[order])


@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.1, 0.25])
@pytest.mark.parametrize("sizes", [(120,), (60, 60), (0, 120)], ids=str)
def test_flagged_prompts_are_those_whose_p_value_is_at_most_the_rate(fpr, sizes):
    rng = np.random.default_rng(4)
    scores = rms_of_heavy_tails(rng, 120) + (rng.random(120) < 0.1)
    scored = flags(scores, rms_of_heavy_tails(rng, 150), groups_of(150, *sizes), fpr)
    assert np.array_equal(scored.flagged, scored.p_value <= fpr)
    assert ((scored.p_value > 0) & (scored.p_value <= 1)).all()
    assert (scored.q_value >= scored.p_value * (1 - 1e-12)).all()
    thresholds = np.array([style.threshold for style in scored.styles])
    assert np.array_equal(scored.flagged, scores >= np.repeat(thresholds, sizes))


def test_a_score_above_the_threshold_is_flagged_in_every_style():
    rng = np.random.default_rng(5)
    scores = np.concatenate([rms_of_heavy_tails(rng, 100), 3 * rms_of_heavy_tails(rng, 100)])
    scores[[3, 150]] = 20
    scored = flags(scores, rms_of_heavy_tails(rng, 200), groups_of(200, 100, 100))
    assert scored.threshold == scored.styles[1].threshold > scored.styles[0].threshold
    assert scored.flagged[scores >= scored.threshold].all()
    assert scored.flagged[[3, 150]].all()


@pytest.mark.parametrize("n", [60, 100, 150])
def test_an_outlier_of_a_small_style_is_flagged(n):
    rng = np.random.default_rng(7)
    scores = 3 * rms_of_heavy_tails(rng, n)
    scores[5] = 30
    scored = flags(scores, rms_of_heavy_tails(rng, 100), groups_of(100, 0, n))
    assert scored.flagged[5]
    assert scored.flagged.sum() <= 3


@pytest.mark.parametrize("n", [1, 4, 8])
def test_few_calibrating_prompts_have_no_threshold_at_a_low_rate(n):
    rng = np.random.default_rng(8)
    scores = np.array([0.5, 1e6])
    with_reference = flags(scores, rms_of_heavy_tails(rng, n), groups_of(n, 2))
    alone = flags(rms_of_heavy_tails(rng, n), NOTHING, groups_of(0, n, n_reference_groups=0))
    for scored in (with_reference, alone):
        assert np.isinf(scored.threshold)
        assert scored.finite_threshold is None
        assert not scored.flagged.any()
    assert np.isfinite(flags(scores, rms_of_heavy_tails(rng, n), groups_of(n, 2), 0.5).threshold)


def test_a_style_of_few_prompts_leaves_no_common_threshold():
    rng = np.random.default_rng(9)
    scores = rms_of_heavy_tails(rng, 106)
    scores[0] = 50
    scored = flags(scores, rms_of_heavy_tails(rng, 200), groups_of(200, 100, 6))
    assert np.isinf(scored.threshold)
    assert np.isfinite(scored.styles[0].threshold)
    assert scored.flagged[0]


def test_styles_without_candidates_do_not_raise_the_threshold():
    rng = np.random.default_rng(10)
    reference = np.concatenate([rms_of_heavy_tails(rng, 100), 10 * rms_of_heavy_tails(rng, 100)])
    scored = flags(rms_of_heavy_tails(rng, 50), reference, groups_of(200, 50, n_reference_groups=2))
    assert [style.n_candidates for style in scored.styles] == [50, 0]
    assert scored.threshold == scored.styles[0].threshold < scored.styles[1].threshold


def test_no_candidates_have_no_threshold():
    scored = flags(NOTHING, np.ones(20), groups_of(20))
    assert scored.finite_threshold is None
    assert scored.flagged.shape == scored.q_value.shape == (0,)


def test_scores_of_detectors_and_groups_are_kept():
    group = GroupScores("feed_forward", (), np.ones(2), np.ones(2), ())
    columns = {"nemo": np.array([1.0, 2.0])}
    scored = flagged_at([group], columns, (np.ones(2), np.arange(20.0)), groups_of(20, 2), FPR, None, 0)
    assert scored.groups == (group,)
    assert scored.detectors == columns
    assert np.array_equal(scored.reference_score, np.arange(20.0))


@pytest.mark.parametrize("n", [11, 25, 34])
def test_a_small_style_flags_its_outlier_or_has_no_threshold(n):
    scores = np.append(rms_of_heavy_tails(np.random.default_rng(11), n - 1), 1e6)
    scored = flags(scores, NOTHING, groups_of(0, n, n_reference_groups=0))
    assert scored.flagged[-1] or scored.finite_threshold is None


def test_highest_scores_are_sampled_first_with_as_many_controls():
    score = np.array([1.0, 5.0, 3.0, 5.0, 0.0, 2.0, 0.5])
    scored = replace(flags(score, score, groups_of(7, 7)), flagged=score > 1.5)
    ranked, controls = choose(scored, limit=2, seed=0)
    assert ranked == [1, 3]
    assert len(set(controls)) == 2
    assert not scored.flagged[controls].any()
    assert choose(scored, limit=2, seed=0) == (ranked, controls)
    assert choose(scored, limit=0, seed=0) == ([], [])
    assert choose(scored, limit=9, seed=0) == ([1, 3, 2, 5], [0, 4, 6])
    assert choose(replace(scored, flagged=np.ones(7, dtype=bool)), limit=9, seed=0)[1] == []
    assert choose(replace(scored, flagged=np.zeros(7, dtype=bool)), limit=9, seed=0) == ([], [])


def test_what_the_base_memorized_is_no_control():
    """Its image comes back, so as a control it would make an honest audit look like chance."""
    score = np.array([1.0, 5.0, 3.0, 5.0, 0.0, 2.0, 0.5])
    known = np.isin(np.arange(7), [0, 3, 6])
    scored = replace(flags(score, score, groups_of(7, 7)), flagged=score > 1.5, known_by_base=known)
    assert choose(scored, limit=9, seed=0) == ([1, 3, 2, 5], [4])
