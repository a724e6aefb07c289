"""The score is the norm at x_T plus the cosine at low noise, weighted as published for what the model predicts."""

from functools import partial

import pytest
import torch

from flashbulb.audit.detectors.anisotropy import DETECTOR, LOW_TIMESTEP, anisotropy
from flashbulb.audit.model.families import open_denoiser
from tests.audit.detectors.conftest import FIRST_TIMESTEP, PROMPTS, evaluate
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe
from tests.toy_variants import build_zero_snr_pipe


def test_the_low_timestep_is_the_third_last_of_fifty(toy_pipe):
    toy_pipe.scheduler.set_timesteps(50)
    assert toy_pipe.scheduler.timesteps[-3] == LOW_TIMESTEP


def test_guidance_along_the_unconditional_noise_scores_above_guidance_against_it(linear_step):
    step = linear_step(["0.75", "0.25"])  # equally far from the empty prompt's 0.5
    norm = 0.25 * step.latents.flatten(2).norm(dim=2)
    expected = norm + torch.tensor([[2.0], [-2.0]])
    torch.testing.assert_close(anisotropy(step), expected, rtol=0, atol=10 * ARITHMETIC)


def noise_scores(scheduler, outputs, latents, timestep):
    """What the authors take the norm of for Stable Diffusion 1: the output itself."""
    return outputs


def velocity_scores(scheduler, outputs, latents, timestep):
    """What they take the norm of for Stable Diffusion 2: the output scaled by the signal, minus x_T, over σ²."""
    alpha = scheduler.alphas_cumprod[timestep]
    return (alpha.sqrt() * outputs - latents) / (1 - alpha)


@pytest.mark.parametrize(
    ("build", "score", "weight"),
    [
        (build_toy_pipe, noise_scores, 2.0),
        (partial(build_toy_pipe, prediction_type="v_prediction"), velocity_scores, 0.1),
        (build_zero_snr_pipe, velocity_scores, 0.1),
    ],
)
def test_the_score_is_that_of_the_authors_code_for_what_the_model_predicts(build, score, weight):
    pipe = build()
    denoiser = open_denoiser(pipe)
    timestep = denoiser.first_timestep(50)
    step = evaluate(denoiser, PROMPTS, 3, timestep)
    measured = anisotropy(step)
    assert measured.shape == (3, 3)
    low = step.predict(step.latents, LOW_TIMESTEP, conditional=True)
    for prompt in range(2):
        for seed in range(3):
            outputs = torch.stack([step.native[prompt, seed], step.native_uncond[seed]])
            text, empty = score(pipe.scheduler, outputs, step.seeds.latents[seed], timestep)
            norm = (text - empty).square().sum().sqrt().item()
            unconditional = step.seeds.unconditional(LOW_TIMESTEP)[seed]
            guidance = low[prompt, seed] - unconditional
            cosines = [
                (guidance[:, y, x] @ unconditional[:, y, x] / guidance[:, y, x].norm() / unconditional[:, y, x].norm())
                for y in range(8)
                for x in range(8)
            ]
            expected = norm + weight * torch.stack(cosines).mean().item()
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
