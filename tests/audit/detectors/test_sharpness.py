"""Sharpness is the change of the noise difference along itself, exact where the model is linear."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from audit.denoiser import Denoiser
from audit.detectors.sharpness import DETECTOR, STEP_LENGTH, sharpness
from tests.audit.detectors.conftest import FIRST_TIMESTEP, PROMPTS, evaluate
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe


def test_linear_model_has_its_closed_form(linear_step):
    step = linear_step(["2.5", "0.75"])
    size = step.latents.flatten(2).norm(dim=2)
    expected = torch.tensor([[4.0], [0.0625]]) * size  # the squared difference of slopes is HΔ twice
    torch.testing.assert_close(sharpness(step), expected, rtol=BATCH, atol=BATCH)
    assert (sharpness(step)[0] > sharpness(step)[1]).all()


def test_sharpness_equals_slow_oracle(toy_step, toy_pipe):
    step = toy_step()
    denoiser = Denoiser(toy_pipe)
    embeds = [denoiser.embed(denoiser.tokenize([prompt])) for prompt in (*PROMPTS, "")]

    def difference(prompt, latents):
        with torch.no_grad():
            noises = [
                toy_pipe.unet(latents[None], FIRST_TIMESTEP, encoder_hidden_states=embeds[index]).sample[0]
                for index in (prompt, -1)
            ]
        return noises[0] - noises[1]

    measured = sharpness(step)
    assert measured.shape == (3, 3)
    for prompt in range(2):
        for seed, latents in enumerate(step.seeds.latents):
            here = difference(prompt, latents)
            there = difference(prompt, latents + STEP_LENGTH * here / here.norm())
            expected = here.norm() * (there - here).norm() / STEP_LENGTH
            assert measured[prompt, seed].item() == pytest.approx(expected.item(), abs=ARITHMETIC)


def test_it_approximates_the_product_of_jacobian_and_score_difference():
    pipe = build_toy_pipe()
    pipe.unet.set_attn_processor(AttnProcessor())  # unlike fused attention it can be differentiated twice
    step = evaluate(Denoiser(pipe), ["a red star", "x"], 2)
    empty_embeds = Denoiser(pipe).embed(Denoiser(pipe).tokenize([""]))
    measured = sharpness(step)
    for prompt in range(2):
        embeds = torch.cat([step.prompt_embeds[[prompt]], empty_embeds])

        def difference(latents, embeds=embeds):
            noise = pipe.unet(latents.expand(2, -1, -1, -1), FIRST_TIMESTEP, encoder_hidden_states=embeds).sample
            return noise[:1] - noise[1:]

        for seed in range(2):
            latents = step.seeds.latents[[seed]]
            _, expected = torch.autograd.functional.jvp(difference, latents, difference(latents).detach())
            assert measured[prompt, seed].item() == pytest.approx(expected.norm().item(), rel=0.1)


def test_prompt_equal_to_the_empty_one_has_none(toy_step):
    assert sharpness(toy_step())[2].abs().max() < ARITHMETIC


def test_broken_noise_is_not_taken_for_flat(toy_step):
    step = toy_step()
    step.noise[0, 0, 0, 0, 0] = torch.nan
    assert sharpness(step).isnan().nonzero().tolist() == [[0, 0]]


def test_value_does_not_depend_on_the_batch(toy_step):
    alone = torch.cat([sharpness(toy_step([prompt])) for prompt in PROMPTS])
    torch.testing.assert_close(sharpness(toy_step()), alone, rtol=0, atol=ARITHMETIC)


def test_stated_evaluations_are_those_of_the_unet(toy_step, evaluations_of):
    more = evaluations_of(DETECTOR, toy_step(), [FIRST_TIMESTEP])
    assert more == (DETECTOR.evaluations_per_seed - 1) * 3 * 3
