"""Seeds that one step moves towards one image agree, and independent seeds do not."""

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from flashbulb.audit.detectors.one_step_agreement import DETECTOR, multi_scale_ssim, one_step_agreement
from flashbulb.audit.model.families import open_denoiser
from tests.audit.detectors.conftest import PROMPTS, evaluate
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe
from tests.toy_variants import build_zero_snr_pipe


def noise_like(tensor, seed=0):
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def random_images(size, n=3):
    return torch.rand(n, 4, size, size, generator=torch.Generator().manual_seed(size))


def test_one_image_for_all_seeds_agrees_fully_and_independent_noise_hardly_agrees(toy_step):
    step = toy_step(PROMPTS[:2])
    image = noise_like(step.pull[0, 0])
    independent = noise_like(step.pull[0], seed=1)
    agreement = one_step_agreement(replace(step, pull=torch.stack([image.expand_as(independent), independent])))
    torch.testing.assert_close(agreement[0], torch.ones(3), rtol=0, atol=BATCH)
    assert (agreement[1] < 0.3).all()


def test_the_score_of_a_seed_is_its_mean_similarity_to_the_others(toy_step):
    step = toy_step()
    difference = step.native - step.latents
    low, high = difference.amin(dim=(3, 4), keepdim=True), difference.amax(dim=(3, 4), keepdim=True)
    images = (difference - low) / (high - low)
    measured = one_step_agreement(step)
    assert measured.shape == (3, 3)
    for prompt in range(3):
        for seed in range(3):
            others = [other for other in range(3) if other != seed]
            similarities = [multi_scale_ssim(images[prompt, [seed]], images[prompt, [other]]) for other in others]
            expected = torch.stack(similarities).mean().item()
            assert measured[prompt, seed].item() == pytest.approx(expected, abs=ARITHMETIC)


def test_the_scale_and_offset_of_a_channel_do_not_matter(toy_step):
    step = toy_step()
    channels = torch.tensor([0.5, 1.0, 3.0, 10.0])[:, None, None]
    changed = replace(step, pull=step.pull * channels + channels)
    torch.testing.assert_close(one_step_agreement(changed), one_step_agreement(step), rtol=0, atol=BATCH)


@pytest.mark.parametrize("build", [partial(build_toy_pipe, prediction_type="v_prediction"), build_zero_snr_pipe])
def test_a_model_that_predicts_velocity_is_compared_by_what_it_sees_in_the_latents(build):
    pipe = build()
    denoiser = open_denoiser(pipe)
    timestep = denoiser.first_timestep(50)
    step = evaluate(denoiser, PROMPTS, 3, timestep)
    difference = step.native - pipe.scheduler.alphas_cumprod[timestep].sqrt() * step.latents
    torch.testing.assert_close(
        one_step_agreement(step), one_step_agreement(replace(step, pull=difference)), rtol=0, atol=ARITHMETIC
    )
    agreement = one_step_agreement(step).mean(dim=1)
    assert (agreement[0] - agreement[1]).abs() > 100 * ARITHMETIC


def test_a_single_seed_has_no_score(toy_step):
    assert one_step_agreement(toy_step(n_seeds=1)).isnan().all()


def test_a_constant_channel_has_a_score_and_non_finite_noise_has_none(toy_step):
    step = toy_step()
    assert one_step_agreement(replace(step, pull=torch.ones_like(step.pull))).isfinite().all()
    broken = step.pull.clone()
    broken[0] = torch.nan
    agreement = one_step_agreement(replace(step, pull=broken))
    assert agreement.isnan().all(dim=1).tolist() == [True, False, False]


def test_one_scale_equals_the_reference_implementation():
    a = random_images(16)
    b = (a + random_images(16).roll(1, dims=0)) / 2
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(a.double().numpy(), b.double().numpy(), strict=True)
    expected = [structural_similarity(x, y, channel_axis=0, **options) for x, y in pairs]
    assert min(expected) > 0.1
    torch.testing.assert_close(multi_scale_ssim(a, b).double(), torch.tensor(expected), rtol=0, atol=BATCH)


def test_small_images_are_compared_in_windows_that_fit():
    a = random_images(8, n=1)
    b = (a + random_images(9, n=1)[..., :8, :8]) / 2
    weights = np.exp(-(np.arange(-3, 4)[:, None] ** 2 + np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for x, y in zip(a[0].double().numpy(), b[0].double().numpy(), strict=True):
        for top, left in product(range(2), repeat=2):
            u, v = (image[top : top + 7, left : left + 7] for image in (x, y))
            mean_u, mean_v = (weights * u).sum(), (weights * v).sum()
            variances = (weights * (u - mean_u) ** 2).sum() + (weights * (v - mean_v) ** 2).sum()
            covariance = (weights * (u - mean_u) * (v - mean_v)).sum()
            luminance = (2 * mean_u * mean_v + 1e-4) / (mean_u**2 + mean_v**2 + 1e-4)
            values.append(luminance * (2 * covariance + 9e-4) / (variances + 9e-4))
    assert multi_scale_ssim(a, b).item() == pytest.approx(np.mean(values), abs=BATCH)


def test_large_latents_are_also_compared_at_coarser_scales():
    coarse = torch.nn.functional.interpolate(random_images(8), scale_factor=8)
    fine = random_images(64)
    a, b = coarse + 0.5 * fine, coarse + 0.5 * fine.roll(1, dims=0)  # alike at coarse scales only
    blurred = [torch.nn.functional.avg_pool2d(x / 1.5, 4) for x in (a, b)]
    all_scales = multi_scale_ssim(a / 1.5, b / 1.5)
    assert (multi_scale_ssim(a[..., :16, :16] / 1.5, b[..., :16, :16] / 1.5) < all_scales).all()
    assert (all_scales < multi_scale_ssim(*blurred)).all()


def test_opposite_images_have_no_similarity():
    image = random_images(16)
    assert torch.equal(multi_scale_ssim(image, 1 - image), torch.zeros(3))


def test_it_needs_no_evaluation_beyond_the_first(toy_step, count_evaluations):
    assert count_evaluations(DETECTOR, toy_step(), []) == 0
    assert DETECTOR.evaluations_per_seed == 1
