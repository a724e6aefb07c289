"""Activations that a few channels dominate score above balanced ones, and the noise is the only randomness."""

import numpy as np
import pytest
import torch

from flashbulb.audit.detectors.balanced_representation import (
    DETECTOR,
    TIMESTEP,
    balanced_representation,
    noised_latents,
)
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe


def pipeline_latents(pipe, images):
    """Encode images as diffusers' image-to-image pipeline does, without noise."""
    pixels = pipe.image_processor.preprocess(images.astype(np.float32) / 255)
    with torch.no_grad():
        return pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor


def test_the_score_equals_that_of_the_output_of_each_blocks_last_nonlinearity(sampled, toy_pipe):
    prompt = sampled(toy_pipe)
    latents = noised_latents(prompt, TIMESTEP)
    empty_embeds = toy_pipe.encode_prompt("", "cpu", 1, False)[0]
    spikes = []
    for block in toy_pipe.unet.up_blocks[0].resnets:
        outputs = []
        handle = block.nonlinearity.register_forward_hook(
            lambda _module, _args, output, kept=outputs: kept.append(output)
        )
        with torch.no_grad():
            for image in latents:
                toy_pipe.unet(image[None], TIMESTEP, encoder_hidden_states=empty_embeds)
                spikes.append(np.std([channel.max().item() for channel in outputs[-1][0]]))
        handle.remove()
    assert len(spikes) == 2 * 3
    assert balanced_representation(prompt) == pytest.approx(np.mean(spikes), abs=BATCH)


def test_a_spiking_channel_raises_the_score(sampled):
    pipe = build_toy_pipe()
    balanced = balanced_representation(sampled(pipe))
    with torch.no_grad():
        for block in pipe.unet.up_blocks[0].resnets:
            block.norm2.weight[3] *= 10
    assert balanced_representation(sampled(pipe)) > 1.5 * balanced


def test_latents_at_the_lowest_noise_are_nearly_those_of_the_images(sampled, toy_pipe):
    prompt = sampled(toy_pipe)
    alpha = toy_pipe.scheduler.alphas_cumprod[0]
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = alpha.sqrt() * pipeline_latents(toy_pipe, prompt.images) + (1 - alpha).sqrt() * noise
    torch.testing.assert_close(noised_latents(prompt, 0), expected, rtol=0, atol=ARITHMETIC)


def test_noise_is_added_as_the_scheduler_adds_it(sampled, toy_pipe):
    prompt = sampled(toy_pipe)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    clean = pipeline_latents(toy_pipe, prompt.images)
    expected = toy_pipe.scheduler.add_noise(clean, noise, torch.tensor([500] * 3))
    torch.testing.assert_close(noised_latents(prompt, 500), expected, rtol=0, atol=ARITHMETIC)


def test_the_shift_of_the_encoder_is_subtracted(sampled):
    pipe = build_toy_pipe()
    unshifted = noised_latents(sampled(pipe), 0)
    pipe.vae.register_to_config(shift_factor=2.0)
    shift = pipe.scheduler.alphas_cumprod[0].sqrt() * 2.0 * pipe.vae.config.scaling_factor
    torch.testing.assert_close(noised_latents(sampled(pipe), 0), unshifted - shift, rtol=0, atol=ARITHMETIC)


def test_noise_depends_on_the_generator_seed_alone(sampled, toy_pipe):
    torch.manual_seed(1)
    first = balanced_representation(sampled(toy_pipe))
    torch.manual_seed(2)
    assert balanced_representation(sampled(toy_pipe)) == first
    assert balanced_representation(sampled(toy_pipe, generator_seed=1)) != first
    alone, together = (noised_latents(sampled(toy_pipe, n_images=n), TIMESTEP)[0] for n in (1, 3))
    torch.testing.assert_close(alone, together, rtol=0, atol=ARITHMETIC)


def test_the_score_does_not_depend_on_the_prompt(sampled, toy_pipe):
    assert balanced_representation(sampled(toy_pipe, "x")) == balanced_representation(sampled(toy_pipe, "yy"))


def test_the_stated_evaluations_are_those_of_the_unet(sampled, toy_pipe, counted):
    prompt = sampled(toy_pipe)
    with counted() as count:
        DETECTOR.measure(prompt)
    assert count.n_evaluations == 3 * DETECTOR.evaluations_per_image
