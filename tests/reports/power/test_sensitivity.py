"""Power: bounds hold what they bound, grow weaker with less evidence, and are known only where sensitivity is."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flashbulb.reports.bounds.power import (
    StyleSize,
    conformal_band,
    detection_power,
    false_finds,
    flags_at,
    missed_bound,
    prompts_needed,
    reference_needed,
    share_bound,
    supports,
)
from flashbulb.reports.bounds.rates import Rate, rate_of
from flashbulb.reports.power.sensitivity import FINE_TUNED, PLANTED, audit_power, false_flag_rate
from flashbulb.reports.power.sentences import power_sentences, power_text
from flashbulb.reports.tables.run_record import RunRecord, StyleCalibration
from tests.reports.canary_examples import CANARIES
from tests.reports.examples import attempt, attempts_table, recoveries_table, run_record, scores_table

SENSITIVITY = st.floats(0.05, 1)


@pytest.mark.parametrize(("n_prompts", "share"), [(300, 0.01), (3000, 0.001), (10_000, 0.0003)])
def test_without_a_hit_a_perfect_audit_excludes_three_in_the_number_of_prompts(n_prompts: int, share: float) -> None:
    assert share_bound(0, n_prompts, 1.0) == pytest.approx(share, rel=0.01)
    assert share_bound(0, n_prompts, 0.5) == pytest.approx(2 * share, rel=0.01)


@given(st.integers(0, 20), st.integers(21, 2000), SENSITIVITY)
def test_a_bound_is_the_share_that_the_audit_would_have_found_more_of(n: int, of: int, sensitivity: float) -> None:
    bound = share_bound(n, of, sensitivity)
    if bound < 1:
        assert detection_power(n, of, sensitivity, bound) == pytest.approx(0.95)


@given(st.integers(0, 20), st.integers(21, 400), SENSITIVITY)
def test_one_more_missed_prompt_than_the_bound_is_excluded(n_found: int, n_prompts: int, sensitivity: float) -> None:
    most = n_found + missed_bound(n_found, n_prompts, sensitivity)
    assert n_found <= most <= n_prompts
    assert stats.binom.cdf(n_found, most, sensitivity) > 0.05 - 1e-9
    if most < n_prompts:
        assert stats.binom.cdf(n_found, most + 1, sensitivity) <= 0.05 + 1e-9


@given(st.integers(0, 5), st.floats(0.2, 1), st.floats(0.005, 1), st.floats(0.1, 0.99))
def test_the_prompts_needed_have_the_power_and_one_fewer_has_not(
    n_found: int, sensitivity: float, share: float, power: float
) -> None:
    needed = prompts_needed(n_found, sensitivity, share, power)
    assert needed is not None
    assert detection_power(n_found, needed, sensitivity, share) >= power
    assert detection_power(n_found, needed - 1, sensitivity, share) < power


def test_no_number_of_prompts_has_power_without_sensitivity() -> None:
    assert prompts_needed(0, 0.0, 0.01, 0.95) is None


@pytest.mark.parametrize(("n", "low", "high"), [(300, 0.003, 0.021), (2000, 0.007, 0.014)])
def test_the_true_rate_of_a_threshold_lies_in_a_band(n: int, low: float, high: float) -> None:
    band = conformal_band(n, 0.01)
    assert band == pytest.approx((low, high), abs=0.0005)


def test_a_threshold_beyond_ranks_has_no_band() -> None:
    assert conformal_band(98, 0.01) is None


@pytest.mark.parametrize("fpr", [0.2, 0.01, 0.003, 0.001])
def test_a_rate_is_offered_from_the_size_that_is_said_to_be_needed(fpr: float) -> None:
    needed = reference_needed(fpr)
    assert supports([StyleSize(needed, 5)], fpr)
    assert not supports([StyleSize(needed - 1, 5)], fpr)


def test_a_hundred_reference_prompts_cannot_support_one_percent() -> None:
    assert not supports([StyleSize(100, 50)], 0.01)


def test_expected_false_flags_lie_within_their_bounds() -> None:
    flags = flags_at(0.01, 30, 1000, [StyleSize(300, 600), StyleSize(80, 300)])
    assert 0 <= flags.n_low < flags.n_expected == 10 < flags.n_high
    assert flags.fdr == pytest.approx(1 / 3)


def powered(**changes: Any) -> RunRecord:
    """The record of an audit with nothing found, with `changes`."""
    record = run_record(verdict=None)
    counts = replace(record.counts, n_recovered=0, n_flagged=2, n_high=0, n_confirmed_pictures=0)
    return replace(record, counts=counts, **changes)


NOTHING_FOUND = recoveries_table([("p0", "not_shown"), ("p1", "not_shown")])
SCORES = scores_table([f"prompt {index}" for index in range(100)])


def test_planted_models_measure_an_audit_like_theirs_and_training_images_make_it_more_sensitive() -> None:
    without = audit_power(powered(), SCORES, NOTHING_FOUND)
    given_images = powered(settings={"n_samples": 4, "train_images": "images"})
    with_images = audit_power(given_images, SCORES, NOTHING_FOUND)
    assert without.sensitivity is not None
    assert with_images.sensitivity is not None
    assert without.sensitivity.source == "planted_models"
    assert without.sensitivity.found == rate_of(227, 242)
    assert with_images.sensitivity.found == rate_of(235, 242)
    assert without.max_share == share_bound(0, 100, without.sensitivity.at_least)


def test_fine_tunes_are_measured_by_fine_tunes() -> None:
    record = powered(base=run_record().model)
    sensitivity = audit_power(record, SCORES, NOTHING_FOUND).sensitivity
    assert sensitivity is not None
    assert set(sensitivity.by_model) == {model.name for model in FINE_TUNED}


def test_no_model_brought_back_more_than_it_memorized() -> None:
    assert all(0 <= model.n_without <= model.n_with <= model.n_memorized for model in (*PLANTED, *FINE_TUNED))


CALIBRATION = run_record().calibration
FEW = (StyleCalibration(True, 100, 100, 3.5, 0.1, 0.05),)
WEAKER = {
    "no reference": {"inputs": {"reference": None}},
    "another style": {"calibration": replace(CALIBRATION, pooled=True)},
    "too small a reference": {"calibration": replace(CALIBRATION, n_reference=100, styles=FEW)},
    "too low a rate": {
        "calibration": replace(CALIBRATION, fpr=0.009, styles=(replace(FEW[0], n_calibrating=4000),)),
    },
    "too few samples": {"settings": {"n_samples": 2}},
    "samples not recorded": {"settings": {}},
}


@pytest.mark.parametrize("name", WEAKER)
def test_planted_models_say_nothing_of_a_weaker_audit_but_canaries_do(name: str) -> None:
    record = powered(**WEAKER[name])
    power = audit_power(record, SCORES, NOTHING_FOUND)
    assert power.sensitivity is power.max_share is power.max_image_share is power.max_missed is None
    assert power.unknown_because
    measured = audit_power(replace(record, canaries=CANARIES), SCORES, NOTHING_FOUND)
    assert measured.sensitivity is not None
    assert (measured.sensitivity.source, measured.unknown_because) == ("canaries", None)
    assert measured.max_share is not None


def test_a_flagged_prompt_that_was_not_tried_counts_as_if_its_image_had_come_back() -> None:
    one_tried = recoveries_table([("p0", "not_shown")])
    power = audit_power(powered(), SCORES, one_tried)
    assert power.n_untried == 1
    assert power.sensitivity is not None
    assert power.max_share == share_bound(1, 100, power.sensitivity.at_least)


@pytest.mark.parametrize("n_tried", [0, 1, 2])
def test_no_more_prompts_can_be_missed_than_there_are(n_tried: int) -> None:
    """Prompts without an attempt are missed at worst; the bound on the others is one of the others alone."""
    record = powered()
    record = replace(record, counts=replace(record.counts, n_scored=2))
    tried = recoveries_table([(f"p{i}", "not_shown") for i in range(n_tried)])
    power = audit_power(record, scores_table(["both", "flagged"]), tried)
    assert power.max_missed is not None
    assert 2 - n_tried <= power.max_missed <= 2


def test_the_interval_of_false_finds_holds_them_however_few_prompts_are_flagged() -> None:
    flags = flags_at(0.2, 5, 1000, [StyleSize(1000, 1000)])
    false = false_finds(flags, 5, 5, 3)
    assert false is not None
    assert false.low <= false.fdr <= false.high


def test_images_of_controls_are_no_finds() -> None:
    rows = [attempt("p0", "confirmed"), attempt("p1", "likely", finding_id="f-p0")]
    rows.append(attempt("p9", "likely", is_control=True, finding_id="f-p9"))
    assert audit_power(powered(), SCORES, attempts_table(rows)).n_images == 1


def test_false_finds_follow_from_the_controls() -> None:
    record = run_record(verdict=None)  # 3 flagged, 2 recovered, 1 of 10 controls
    false = audit_power(record, SCORES, NOTHING_FOUND).false_finds
    assert false is not None
    assert false.n_expected == pytest.approx(0.1)
    assert false.fdr == pytest.approx(0.05)
    assert false.low < false.fdr < false.high


def sentences_of(record: RunRecord) -> str:
    power = audit_power(record, SCORES, NOTHING_FOUND)
    return " ".join((power_text(power, record.frame), *power_sentences(replace(record, power=power))))


def test_with_canaries_the_stated_power_rests_on_them_and_planted_models_are_not_named() -> None:
    with_canaries, without = sentences_of(powered(canaries=CANARIES)), sentences_of(powered())
    assert "measured in this model" in with_canaries
    assert "28 of 30" in with_canaries
    assert "planted models" not in with_canaries
    assert "planted models" in without
    assert "Canaries in the training set would measure it" in without


@pytest.mark.parametrize("found", [None, rate_of(0, 0)], ids=["refused", "none came back in plain samples"])
def test_canaries_of_which_nothing_is_memorized_measure_no_sensitivity(found: Rate | None) -> None:
    record = powered(canaries=replace(CANARIES, sensitivity=found))
    power = audit_power(record, SCORES, NOTHING_FOUND)
    assert power.sensitivity is not None
    assert power.sensitivity.source == "planted_models"
    assert "Its canaries do not measure it" in sentences_of(record)


def test_false_flags_are_expected_at_the_rate_of_canaries_that_refute_the_stated_one() -> None:
    stated, agreeing, refuting = (
        powered(canaries=replace(CANARIES, false_detected=flagged))
        for flagged in (None, rate_of(2, 90), rate_of(9, 90))
    )
    flags = [audit_power(record, SCORES, NOTHING_FOUND).flags for record in (stated, agreeing, refuting)]
    assert flags[0] == flags[1]
    (at_measured,) = flags[2]
    assert at_measured.n_expected == pytest.approx(10)  # of 100 prompts
    assert at_measured.n_low < at_measured.n_expected < at_measured.n_high
    assert [false_flag_rate(record) for record in (stated, agreeing, refuting)] == [0.01, 0.01, 0.1]
    assert "does not hold for such captions" in sentences_of(refuting)
    assert "does not hold for such captions" not in sentences_of(agreeing)


def test_finds_are_as_often_false_as_canaries_that_refute_the_stated_rate_say() -> None:
    record = replace(run_record(verdict=None), canaries=replace(CANARIES, false_detected=rate_of(9, 90)))
    stated, measured = (
        audit_power(r, SCORES, NOTHING_FOUND).false_finds for r in (replace(record, canaries=None), record)
    )
    assert stated is not None
    assert measured is not None
    assert measured.fdr > stated.fdr
