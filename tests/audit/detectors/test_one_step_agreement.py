"""One-step agreement is that of its authors' code: two seeds that one step moves towards one image are alike."""

from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from flashbulb.audit.detectors.one_step_agreement import (
    DETECTOR,
    SECOND_TIMESTEP,
    multi_scale_ssim,
    one_step_agreement,
    similarities,
)
from flashbulb.audit.model.families import open_denoiser
from tests.audit.detectors.conftest import PROMPTS, evaluate
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe
from tests.toy_variants import build_zero_snr_pipe


def noise_like(tensor, seed=0):
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def random_images(size, n=3):
    return torch.rand(n, 4, size, size, generator=torch.Generator().manual_seed(size))


def slow_multi_scale_ssim(a, b):
    """Three scales, each with its own data range, by scikit-image: two [pair, channel, row, column] -> [pair]."""
    similarity = np.ones(len(a))
    for scale in range(3):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 0}
        options["data_range"] = max(np.ptp(a), np.ptp(b))
        options["K1"] = 0.01 if scale == 2 else 1e6  # a large K1 leaves the contrast term alone
        terms = [structural_similarity(x, y, **options) for x, y in zip(a, b, strict=True)]
        similarity *= np.maximum(terms, 0) ** 0.33
        a, b = (x.reshape(*x.shape[:2], x.shape[2] // 2, 2, -1, 2).mean(axis=(3, 5)) for x in (a, b))
    return similarity


def slow_agreement(pipe, prompt, latents):
    """The authors' number for a prompt: the largest similarity of two seeds at the second of 50 timesteps."""
    pipe.scheduler.set_timesteps(50)
    embeds = pipe.encode_prompt(prompt, "cpu", len(latents), False)[0]
    with torch.no_grad():
        noise = pipe.unet(latents, pipe.scheduler.timesteps[1], encoder_hidden_states=embeds).sample
    images = (noise - latents).double().numpy()
    low, high = images.min(axis=(2, 3), keepdims=True), images.max(axis=(2, 3), keepdims=True)
    images = (images - low) / (high - low)
    first, second = np.array(list(combinations(range(len(images)), 2))).T
    return slow_multi_scale_ssim(images[first], images[second]).max()


def test_latents_of_stable_diffusions_size_score_as_the_authors_code_scores_them():
    pipe = build_toy_pipe(latent_size=64)
    step = evaluate(open_denoiser(pipe), PROMPTS[:2], 3)
    agreement = one_step_agreement(step)
    assert agreement.shape == (2, 3)
    for prompt, measured in zip(PROMPTS[:2], agreement, strict=True):
        expected = slow_agreement(pipe, prompt, step.seeds.latents)
        assert expected > 0.01
        assert measured.tolist() == pytest.approx([expected] * 3, abs=BATCH)


def test_pairs_of_any_likeness_equal_the_reference_implementation():
    a = random_images(64) * torch.tensor([1.0, 0.5, 0.3])[:, None, None, None]
    b = (a + random_images(64).roll(1, dims=0)) / 2
    expected = slow_multi_scale_ssim(a.double().numpy(), b.double().numpy())
    assert 0.1 < expected.min() < expected.max() < 0.9
    torch.testing.assert_close(multi_scale_ssim(a, b).double(), torch.tensor(expected), rtol=0, atol=BATCH)


def test_two_seeds_that_move_towards_one_image_suffice(toy_step):
    step = toy_step(PROMPTS[:1], n_seeds=4)
    pull = noise_like(step.pull)
    pull[0, 3] = pull[0, 1]
    expected = torch.ones(4, 4)
    assert similarities(pull)[0].argmax(dim=1)[[1, 3]].tolist() == [2, 1]  # the places of 3 and 1 among the others
    torch.testing.assert_close(similarities(pull).amax(dim=(1, 2)), expected[0, :1], rtol=0, atol=BATCH)
    assert (similarities(noise_like(step.pull)) < 0.4).all()


def test_the_scale_and_offset_of_a_channel_do_not_matter(toy_step):
    pull = toy_step().pull
    channels = torch.tensor([0.5, 1.0, 3.0, 10.0])[:, None, None]
    torch.testing.assert_close(similarities(pull * channels + channels), similarities(pull), rtol=0, atol=BATCH)


@pytest.mark.parametrize("build", [partial(build_toy_pipe, prediction_type="v_prediction"), build_zero_snr_pipe])
def test_a_model_that_predicts_velocity_is_compared_by_what_it_sees_in_the_latents(build):
    pipe = build()
    denoiser = open_denoiser(pipe)
    step = evaluate(denoiser, PROMPTS, 3, denoiser.first_timestep(50))
    velocity = step.predict(step.latents, SECOND_TIMESTEP, conditional=True)
    pull = velocity - pipe.scheduler.alphas_cumprod[SECOND_TIMESTEP].sqrt() * step.latents
    agreement = one_step_agreement(step)
    torch.testing.assert_close(agreement[:, 0], similarities(pull).amax(dim=(1, 2)), rtol=0, atol=ARITHMETIC)
    assert (agreement[0] - agreement[1]).abs().min() > 100 * ARITHMETIC


def test_a_single_seed_has_no_score(toy_step):
    assert one_step_agreement(toy_step(n_seeds=1)).isnan().all()


def test_constant_channels_have_a_score_and_non_finite_noise_has_none(toy_step):
    pull = toy_step().pull
    assert torch.equal(similarities(torch.ones_like(pull)), torch.ones(3, 3, 2))
    pull[:, :, 2] = 7.0
    assert similarities(pull).isfinite().all()
    pull[0] = torch.nan
    assert similarities(pull).isnan().all(dim=(1, 2)).tolist() == [True, False, False]


def window_terms(u, v, data_range):
    """Luminance and contrast of two windows of a size, weighted by a Gaussian of standard deviation 1.5."""
    offsets = np.arange(len(u)) - len(u) // 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    mean_u, mean_v = (weights * u).sum(), (weights * v).sum()
    variances = (weights * (u - mean_u) ** 2).sum() + (weights * (v - mean_v) ** 2).sum()
    covariance = (weights * (u - mean_u) * (v - mean_v)).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_u * mean_v + c1) / (mean_u**2 + mean_v**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def test_small_latents_are_compared_at_the_same_scales_in_windows_that_fit():
    a = random_images(8, n=1)
    b = (a + random_images(9, n=1)[..., :8, :8]) / 2
    expected = 1.0
    for size, window in ((8, 7), (4, 3), (2, 1)):
        x, y = (
            image[0].double().unflatten(2, (size, -1)).unflatten(1, (size, -1)).mean((2, 4)).numpy() for image in (a, b)
        )
        data_range = max(np.ptp(x), np.ptp(y))
        places = [slice(start, start + window) for start in range(size - window + 1)]
        terms = [
            window_terms(x[channel, rows, columns], y[channel, rows, columns], data_range)
            for channel, rows, columns in product(range(4), places, places)
        ]
        luminance, contrast = np.array(terms).T
        expected *= (luminance * contrast if size == 2 else contrast).mean() ** 0.33
    assert 0.1 < expected < 0.9
    assert multi_scale_ssim(a, b).item() == pytest.approx(expected, abs=BATCH)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 64)])
def test_latents_of_any_size_have_a_similarity(size):
    a = torch.rand(2, 4, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(multi_scale_ssim(a, a), torch.ones(2), rtol=0, atol=BATCH)
    assert (multi_scale_ssim(a, 1 - a) < 1).all()


def test_images_alike_at_coarse_scales_only_are_less_alike_than_blurred_ones():
    coarse = torch.nn.functional.interpolate(random_images(8), scale_factor=8)
    fine = random_images(64)
    a, b = coarse + 0.5 * fine, coarse + 0.5 * fine.roll(1, dims=0)
    blurred = [torch.nn.functional.avg_pool2d(x, 4) for x in (a, b)]
    assert (multi_scale_ssim(a, b) < multi_scale_ssim(*blurred)).all()


def test_opposite_images_have_no_similarity():
    image = random_images(16)
    assert torch.equal(multi_scale_ssim(image, 1 - image), torch.zeros(3))


def test_it_does_not_depend_on_the_other_prompts(toy_step):
    alone = torch.cat([one_step_agreement(toy_step([prompt])) for prompt in PROMPTS])
    torch.testing.assert_close(one_step_agreement(toy_step()), alone, rtol=0, atol=BATCH)


def test_it_needs_one_evaluation_beyond_the_first(toy_step, count_evaluations):
    assert count_evaluations(DETECTOR, toy_step(), []) == (DETECTOR.evaluations_per_seed - 1) * 3 * 3 == 9
