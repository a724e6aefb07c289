"""The score is the norm at x_T plus the cosine at low noise, as published."""

import pytest
import torch

from flashbulb.audit.detectors.anisotropy import DETECTOR, LOW_TIMESTEP, anisotropy
from tests.audit.detectors.conftest import FIRST_TIMESTEP, PROMPTS
from tests.tolerances import ARITHMETIC


def test_the_low_timestep_is_the_third_last_of_fifty(toy_pipe):
    toy_pipe.scheduler.set_timesteps(50)
    assert toy_pipe.scheduler.timesteps[-3] == LOW_TIMESTEP


def test_guidance_along_the_unconditional_noise_scores_above_guidance_against_it(linear_step):
    step = linear_step(["0.75", "0.25"])  # equally far from the empty prompt's 0.5
    norm = 0.25 * step.latents.flatten(2).norm(dim=2)
    expected = norm + torch.tensor([[2.0], [-2.0]])
    torch.testing.assert_close(anisotropy(step), expected, rtol=0, atol=10 * ARITHMETIC)


def test_score_equals_slow_oracle(toy_step):
    step = toy_step()
    measured = anisotropy(step)
    assert measured.shape == (3, 3)
    low = step.predict(step.latents, LOW_TIMESTEP, conditional=True)
    for prompt in range(2):
        for seed in range(3):
            norm = (step.native[prompt, seed] - step.native_uncond[seed]).square().sum().sqrt().item()
            unconditional = step.seeds.unconditional(LOW_TIMESTEP)[seed]
            guidance = low[prompt, seed] - unconditional
            cosines = [
                (guidance[:, y, x] @ unconditional[:, y, x] / guidance[:, y, x].norm() / unconditional[:, y, x].norm())
                for y in range(8)
                for x in range(8)
            ]
            expected = norm + 2 * torch.stack(cosines).mean().item()
            assert measured[prompt, seed].item() == pytest.approx(expected, abs=10 * ARITHMETIC)


def test_a_prompt_that_changes_nothing_scores_zero(linear_step):
    assert torch.equal(anisotropy(linear_step(["0.5"])), torch.zeros(1, 2))


def test_the_score_does_not_depend_on_the_batch(toy_step):
    prompts = PROMPTS[:2]  # the cosine of the empty prompt is that of rounding errors
    alone = torch.cat([anisotropy(toy_step([prompt])) for prompt in prompts])
    torch.testing.assert_close(anisotropy(toy_step(prompts)), alone, rtol=0, atol=10 * ARITHMETIC)


def test_the_stated_evaluations_are_those_of_the_unet(toy_step, count_evaluations):
    more = count_evaluations(DETECTOR, toy_step(), [FIRST_TIMESTEP, LOW_TIMESTEP])
    assert more == (DETECTOR.evaluations_per_seed - 1) * 3 * 3
