"""Sharpness is the change of the noise difference along its own direction, and exact for a linear model."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from flashbulb.audit.detectors.sharpness import DETECTOR, STEP_LENGTH, sharpness
from flashbulb.audit.model.families import open_denoiser
from tests.audit.detectors.conftest import FIRST_TIMESTEP, PROMPTS, evaluate
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe


def test_a_linear_model_has_the_score_of_its_closed_form(linear_step):
    step = linear_step(["2.5", "0.75"])
    size = step.latents.flatten(2).norm(dim=2)
    expected = torch.tensor([[4.0], [0.0625]]) * size  # both HΔ and sΔ contribute the difference of slopes
    torch.testing.assert_close(sharpness(step), expected, rtol=BATCH, atol=BATCH)
    assert (sharpness(step)[0] > sharpness(step)[1]).all()


def test_the_score_equals_a_slow_oracle(toy_step, toy_pipe):
    step = toy_step()
    embeds = [toy_pipe.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in (*PROMPTS, "")]

    def difference(prompt, latents):
        with torch.no_grad():
            conditional, unconditional = (
                toy_pipe.unet(latents[None], FIRST_TIMESTEP, encoder_hidden_states=embeds[index]).sample[0]
                for index in (prompt, -1)
            )
        return conditional - unconditional

    measured = sharpness(step)
    assert measured.shape == (3, 3)
    for prompt in range(2):
        for seed, latents in enumerate(step.seeds.latents):
            here = difference(prompt, latents)
            there = difference(prompt, latents + STEP_LENGTH * here / here.norm())
            expected = here.norm() * (there - here).norm() / STEP_LENGTH
            assert measured[prompt, seed].item() == pytest.approx(expected.item(), abs=ARITHMETIC)


def test_the_score_approximates_the_product_of_jacobian_and_score_difference():
    pipe = build_toy_pipe()
    pipe.unet.set_attn_processor(AttnProcessor())  # unlike fused attention it can be differentiated twice
    step = evaluate(open_denoiser(pipe), ["a red star", "x"], 2)
    prompt_embeds, empty_embeds = (
        pipe.encode_prompt(prompts, "cpu", 1, False)[0] for prompts in (["a red star", "x"], [""])
    )
    measured = sharpness(step)
    for prompt in range(2):
        embeds = torch.cat([prompt_embeds[[prompt]], empty_embeds])

        def difference(latents, embeds=embeds):
            noise = pipe.unet(latents.expand(2, -1, -1, -1), FIRST_TIMESTEP, encoder_hidden_states=embeds).sample
            return noise[:1] - noise[1:]

        for seed in range(2):
            latents = step.seeds.latents[[seed]]
            _, expected = torch.autograd.functional.jvp(difference, latents, difference(latents).detach())
            assert measured[prompt, seed].item() == pytest.approx(expected.norm().item(), rel=0.1)


def test_the_empty_prompt_scores_zero(toy_step):
    assert sharpness(toy_step())[2].abs().max() < ARITHMETIC


def test_non_finite_noise_gives_nan_for_its_seed_alone(toy_step):
    step = toy_step()
    step.native[0, 0, 0, 0, 0] = torch.nan
    assert sharpness(step).isnan().nonzero().tolist() == [[0, 0]]


def test_the_score_does_not_depend_on_the_batch(toy_step):
    alone = torch.cat([sharpness(toy_step([prompt])) for prompt in PROMPTS])
    torch.testing.assert_close(sharpness(toy_step()), alone, rtol=0, atol=ARITHMETIC)


def test_the_stated_evaluations_are_those_of_the_unet(toy_step, count_evaluations):
    more = count_evaluations(DETECTOR, toy_step(), [FIRST_TIMESTEP])
    assert more == (DETECTOR.evaluations_per_seed - 1) * 3 * 3
