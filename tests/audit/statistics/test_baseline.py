"""Constant neurons never spike, style is removed from z-scores, and rows of absent token classes are left out."""

import numpy as np
import pytest

from flashbulb.audit.statistics.baseline import MAD_TO_DEVIATION, Z_CLIP, fit_baseline, spike_scores, z_scores

N_PROMPTS, N_NEURONS = 200, 64


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(N_PROMPTS, N_NEURONS)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_prompts", [2, 3, 4, 9, 200])
def test_location_and_deviation_equal_numpys_medians(dtype, n_prompts):
    rng = np.random.default_rng(n_prompts)
    activations = (rng.standard_t(2, size=(n_prompts, 300)) + rng.normal(size=300)).astype(dtype)
    activations[:, :20] = activations[:, :20].round()  # ties
    baseline = fit_baseline(activations, 0)
    location = np.median(activations, axis=0)
    deviation = np.median(np.abs(activations - location), axis=0)
    np.testing.assert_array_equal(baseline.location, location.astype(np.float32))
    above_floor = deviation > 0.1 * np.median(deviation)
    expected = (MAD_TO_DEVIATION * deviation).astype(np.float32)
    np.testing.assert_array_equal(baseline.scale[above_floor], expected[above_floor])


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-6, 50.0])
@pytest.mark.parametrize("n_components", [0, 10])
def test_constant_neuron_never_spikes(noise, value, n_components):
    noise[:, 5] = value
    z = z_scores(noise, fit_baseline(noise, n_components))
    assert np.abs(z[:, 5]).max() < 1e-3


def test_a_rounding_error_of_a_constant_neuron_is_not_a_spike(noise):
    noise[:, 5] = 1.0
    baseline = fit_baseline(noise, 0)
    noise[0, 5] = np.float16(1.0) + np.float16(2**-10)  # one step of float16 above
    assert np.abs(z_scores(noise[:1], baseline)[0, 5]) < 3


def test_prompts_whose_neurons_are_all_constant_have_no_spikes():
    constant = np.ones((10, 4), dtype=np.float32)
    assert not z_scores(constant, fit_baseline(constant, 5)).any()


def test_rows_of_an_absent_token_class_are_left_out_and_score_zero(noise):
    with_absent = np.concatenate([noise, np.full((7, N_NEURONS), np.nan, dtype=np.float32)])
    baseline, expected = fit_baseline(with_absent, 10), fit_baseline(noise, 10)
    for name in ("location", "scale", "components"):
        np.testing.assert_array_equal(getattr(baseline, name), getattr(expected, name))
    z = z_scores(with_absent, baseline)
    assert np.isfinite(z).all()
    assert not spike_scores(with_absent, [baseline])[-7:].any()


def test_components_are_orthonormal_and_at_most_a_quarter_of_the_number_of_prompts(noise):
    for n_prompts, n_components, n_kept in ((200, 20, 20), (40, 20, 10), (7, 20, 1), (3, 20, 0)):
        components = fit_baseline(noise[:n_prompts], n_components).components
        assert components.shape == (n_kept, N_NEURONS)
        np.testing.assert_allclose(components @ components.T, np.eye(n_kept), atol=1e-4)


def test_a_difference_of_style_is_removed_and_a_spike_remains(noise):
    rng = np.random.default_rng(1)
    direction = rng.normal(size=N_NEURONS).astype(np.float32)
    is_other_style = rng.random(N_PROMPTS) < 0.5
    reference = noise + 3 * is_other_style[:, None] * direction
    fresh = rng.normal(size=(2, N_NEURONS)).astype(np.float32)
    fresh[1] += 3 * direction
    spiked = fresh.copy()
    spiked[:, 9] += 40 * fit_baseline(reference, 0).scale[9]
    with_style, without_style = (fit_baseline(reference, n) for n in (0, 5))
    gap = np.linalg.norm(np.diff(z_scores(fresh, with_style), axis=0))
    assert np.linalg.norm(np.diff(z_scores(fresh, without_style), axis=0)) < 0.8 * gap
    assert (np.abs(z_scores(spiked, without_style)).argmax(axis=1) == 9).all()


def test_scoring_in_chunks_equals_scoring_at_once(noise):
    baseline = fit_baseline(noise, 10)
    chunks = np.concatenate([z_scores(chunk, baseline) for chunk in np.array_split(noise, [1, 50, 51])])
    np.testing.assert_allclose(chunks, z_scores(noise, baseline), atol=1e-4)


def test_a_few_memorized_prompts_hardly_move_the_baseline(noise):
    contaminated = noise.copy()
    contaminated[:10, :8] += 100
    expected, baseline = fit_baseline(noise, 0), fit_baseline(contaminated, 0)
    np.testing.assert_allclose(baseline.location, expected.location, atol=0.25)
    np.testing.assert_allclose(baseline.scale, expected.scale, rtol=0.2)
    assert np.abs(z_scores(contaminated, baseline)).max() == Z_CLIP


@pytest.mark.parametrize("n_prompts", [24, 200])
@pytest.mark.parametrize("decay", [1.0, 0.3])
def test_components_hold_as_much_of_z_as_those_of_an_exact_decomposition(noise, n_prompts, decay):
    styles = np.linalg.qr(noise[:N_NEURONS, :6])[0] * 20 * decay ** np.arange(6)
    activations = (noise[:n_prompts, :6] @ styles.T + noise[:n_prompts]).astype(np.float32)
    z = z_scores(activations, fit_baseline(activations, 0))
    residual = z_scores(activations, fit_baseline(activations, 6))
    exact = np.linalg.svd(z, full_matrices=False)[1]
    np.testing.assert_allclose(np.square(residual).sum(), np.square(exact[6:]).sum(), rtol=1e-3)


def test_without_components_z_is_the_distance_in_units_of_the_scale(noise):
    baseline = fit_baseline(noise, 0)
    expected = (noise.astype(np.float64) - np.median(noise, axis=0)) / baseline.scale
    np.testing.assert_allclose(z_scores(noise, baseline), np.clip(expected, -Z_CLIP, Z_CLIP), atol=1e-4)


@pytest.mark.parametrize("n_present", [0, 1])
def test_too_few_prompts_are_refused(noise, n_present):
    noise[n_present:] = np.nan
    with pytest.raises(ValueError, match=f"at least 2 reference prompts, got {n_present}"):
        fit_baseline(noise, 10)


def test_the_arguments_are_not_modified(noise):
    before = noise.copy()
    z_scores(noise, fit_baseline(noise, 10))
    np.testing.assert_array_equal(noise, before)
