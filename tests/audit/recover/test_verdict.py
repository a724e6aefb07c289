"""The confidence follows each sign in its direction, and the verdict follows the confidence."""

from dataclasses import fields, replace

import numpy as np
import pytest

from flashbulb.audit.recover.signs import DOUBTED, DRIVEN, PLAIN, Signs, confidence_of, signs_of, verdict_of
from flashbulb.reports.tables.limits import CONFIRMED_AT, LIKELY_AT
from flashbulb.reports.tables.schema import RECOVERY_VERDICTS
from tests.audit.noisy_images import image
from tests.audit.signs import CONVINCING, NEUTRAL, UNCONVINCING


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("name", [field.name for field in fields(Signs)])
def test_confidence_is_monotone_in_each_sign(name, is_plain):
    values = np.linspace(-2 if name == "shift_distance" else -30, 30, 200)
    confidences = np.array(
        [confidence_of(replace(NEUTRAL, **{name: float(value)}), is_plain=is_plain) for value in values]
    )
    weight = (DRIVEN.weights | (PLAIN.weights if is_plain else {})).get(name, 0.0)
    assert (np.diff(confidences) * np.sign(weight) >= 0).all()
    assert (confidences[0] == confidences[-1]) == (weight == 0)


def plain_colour():
    return np.full((32, 32, 3), (200, 40, 90), dtype=np.uint8)


def stripes():
    return np.repeat(np.tile(np.array([[30], [220]], dtype=np.uint8), (4, 32)), 4, axis=0)[:, :, None].repeat(3, axis=2)


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("image", [plain_colour(), stripes()])
def test_a_plain_colour_or_a_regular_pattern_is_no_memory_however_well_it_comes_back(image, is_plain):
    same = np.stack([image] * 4)
    assert confidence_of(signs_of(same, same, image, -9.0, -9.0), is_plain=is_plain) == 0


def test_confidence_is_a_probability_however_wild_the_signs():
    for size in (1.0, 1e3, 1e308):
        for signs in (CONVINCING, UNCONVINCING):
            wild = replace(
                signs, **{name: getattr(signs, name) * size / 100 for name in PLAIN.weights | DRIVEN.weights}
            )
            assert all(0 <= confidence_of(wild, is_plain=is_plain) <= 1 for is_plain in (True, False))
    for is_plain in (True, False):
        assert confidence_of(CONVINCING, is_plain=is_plain) > 0.99
        assert confidence_of(UNCONVINCING, is_plain=is_plain) < 0.01


def test_agreement_that_the_model_does_not_take_back_is_likely_at_most():
    errors = {"denoising_error": 0.0, "autoencoding_error": 0.0}
    confidence = confidence_of(replace(CONVINCING, survival=-4.6, **errors), is_plain=True)
    assert confidence == DOUBTED
    assert verdict_of(confidence) == "likely"


def test_verdicts_rise_with_confidence():
    found = [verdict_of(confidence) for confidence in np.linspace(1, 0, 101)]
    assert list(dict.fromkeys(found)) == list(RECOVERY_VERDICTS)
    assert found == sorted(found, key=RECOVERY_VERDICTS.index)
    assert 0 < LIKELY_AT < CONFIRMED_AT < 1
    assert (verdict_of(CONFIRMED_AT), verdict_of(LIKELY_AT)) == ("confirmed", "likely")


def test_what_comes_back_without_guidance_has_the_smaller_sign():
    same, other = np.stack([image()] * 2), np.stack([image(1), image(2)])
    steady, drifting = (signs_of(same, unguided, image(), -3.0, -2.0) for unguided in (same, other))
    assert steady.survival == pytest.approx(np.log(0.01))
    assert drifting.survival > steady.survival
    assert steady.spread == drifting.spread == steady.survival
    assert steady.agreement == drifting.agreement == 1.0 > signs_of(other, same, image(), 0, 0).agreement
    assert (steady.denoising_error, steady.autoencoding_error) == (-3.0, -2.0)
