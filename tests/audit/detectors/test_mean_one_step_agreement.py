"""A seed's mean agreement is its mean similarity to the other seeds, at x_T."""

from dataclasses import replace

import pytest
import torch

from flashbulb.audit.detectors.mean_one_step_agreement import DETECTOR, mean_one_step_agreement
from flashbulb.audit.detectors.one_step_agreement import multi_scale_ssim
from tests.audit.detectors.conftest import PROMPTS
from tests.tolerances import BATCH


def test_the_score_of_a_seed_is_its_mean_similarity_to_the_others(toy_step):
    step = toy_step()
    difference = step.native - step.latents
    low, high = difference.amin(dim=(3, 4), keepdim=True), difference.amax(dim=(3, 4), keepdim=True)
    images = (difference - low) / (high - low)
    first, second = [0, 0, 1], [1, 2, 2]
    measured = mean_one_step_agreement(step)
    assert measured.shape == (3, 3)
    for prompt in range(3):
        similarity = multi_scale_ssim(images[prompt, first], images[prompt, second]).tolist()
        for seed in range(3):
            own = [s for s, pair in zip(similarity, zip(first, second, strict=True), strict=True) if seed in pair]
            assert measured[prompt, seed].item() == pytest.approx(sum(own) / 2, abs=BATCH)


def test_one_image_for_all_seeds_agrees_fully_and_independent_noise_hardly_agrees(toy_step):
    step = toy_step(PROMPTS[:2])
    independent = torch.randn(step.pull[0].shape, generator=torch.Generator().manual_seed(1))
    agreement = mean_one_step_agreement(
        replace(step, pull=torch.stack([independent[:1].expand_as(independent), independent]))
    )
    torch.testing.assert_close(agreement[0], torch.ones(3), rtol=0, atol=BATCH)
    assert (agreement[1] < 0.3).all()


def test_one_chance_resemblance_counts_less_than_agreement_of_all_seeds(toy_step):
    step = toy_step(PROMPTS[:1], n_seeds=4)
    seeds = torch.randn(step.pull[0].shape, generator=torch.Generator().manual_seed(2))
    pair, all_alike = seeds.clone(), seeds[:1].expand_as(seeds)
    pair[1] = pair[0]
    chance, agreed = (mean_one_step_agreement(replace(step, pull=pull[None])).mean() for pull in (pair, all_alike))
    assert chance < agreed / 2


def test_a_single_seed_has_no_score(toy_step):
    assert mean_one_step_agreement(toy_step(n_seeds=1)).isnan().all()


def test_it_needs_no_evaluation_beyond_the_first(toy_step, count_evaluations):
    assert count_evaluations(DETECTOR, toy_step(), []) == 0
    assert DETECTOR.evaluations_per_seed == 1
