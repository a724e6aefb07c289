"""Noise differences count where the end token is attended to; a uniform mask leaves Wen's norm."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from flashbulb.audit.detectors.balanced_representation import noised_latents
from flashbulb.audit.detectors.bright_ending import DETECTOR, bright_ending, end_token_mask, masked_norm
from flashbulb.hooks import TokenClass
from flashbulb.hooks.attention import cross_attention_layers, observe_attention
from tests.tolerances import ARITHMETIC, BATCH
from tests.toy import build_toy_pipe

MIDDLE = 500


def embeds_of(prompt):
    return prompt.encoded.conditioning.tensors["prompt_embeds"]


def norms_in_the_middle(pipe, prompt):
    """Return the norm of each image's noise difference without a mask: [image]."""
    empty_embeds = pipe.encode_prompt("", "cpu", 1, False)[0]
    norms = []
    for latents in noised_latents(prompt, MIDDLE):
        with torch.no_grad():
            text, uncond = (
                pipe.unet(latents[None], MIDDLE, encoder_hidden_states=embeds).sample
                for embeds in (embeds_of(prompt), empty_embeds)
            )
        norms.append((text - uncond).norm())
    return torch.stack(norms)


def test_uniform_attention_leaves_the_unmasked_norm(sampled):
    pipe = build_toy_pipe()
    with torch.no_grad():
        for layer in cross_attention_layers(pipe.unet).values():
            layer.to_q.weight.zero_()
    prompt = sampled(pipe)
    torch.testing.assert_close(end_token_mask(prompt), torch.full((3, 1, 8, 8), 1 / 32), rtol=0, atol=ARITHMETIC)
    assert bright_ending(prompt) == pytest.approx(norms_in_the_middle(pipe, prompt).mean().item(), rel=1e-3)


def test_a_difference_counts_where_the_mask_is_bright_and_the_masks_scale_does_not_matter():
    difference = torch.zeros(1, 4, 8, 8)
    difference[..., :4] = 1
    left, right = torch.full((2, 1, 1, 8, 8), 0.1)
    left[..., :4] = 0.9
    right[..., 4:] = 0.9
    even = torch.full((1, 1, 8, 8), 0.3)
    assert masked_norm(difference, left) > masked_norm(difference, even) > masked_norm(difference, right)
    torch.testing.assert_close(masked_norm(difference, even), difference.flatten(1).norm(dim=1))
    torch.testing.assert_close(masked_norm(difference, left / 7), masked_norm(difference, left))


def test_the_mask_is_the_end_tokens_attention_in_the_finest_layers(sampled, toy_pipe):
    prompt = sampled(toy_pipe)
    (end,) = (prompt.encoded.main_classes[0] == TokenClass.END).nonzero().flatten().tolist()
    observed = []
    layers = cross_attention_layers(toy_pipe.unet)
    latents = noised_latents(prompt, prompt.last_timestep)
    with torch.no_grad(), observe_attention(layers, lambda _name, probabilities: observed.append(probabilities)):
        toy_pipe.unet(latents, 1, encoder_hidden_states=embeds_of(prompt).expand(3, -1, -1))
    maps = [probabilities[..., end].mean(dim=1) for probabilities in observed]
    assert {attention.shape[1] for attention in maps} == {16}
    coarse = (sum(maps) / len(maps)).unflatten(1, (4, 4))
    mask = end_token_mask(prompt)
    assert mask.shape == (3, 1, 8, 8)
    expected = torch.nn.functional.interpolate(coarse[:, None], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(mask, expected, rtol=0, atol=ARITHMETIC)


def test_the_mask_fits_latents_that_are_not_square(sampled):
    parts = build_toy_pipe().components
    parts["unet"].register_to_config(sample_size=[4, 8])
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    prompt = sampled(pipe)
    prompt = replace(prompt, images=prompt.images[:, :8])
    assert end_token_mask(prompt).shape == (3, 1, 4, 8)
    assert math.isfinite(bright_ending(prompt))


def test_the_score_is_the_mean_over_images(sampled, toy_pipe):
    prompt = sampled(toy_pipe)
    latents = noised_latents(prompt, MIDDLE)
    empty_embeds = toy_pipe.encode_prompt("", "cpu", 1, False)[0].expand(3, -1, -1)
    with torch.no_grad():
        text, uncond = (
            toy_pipe.unet(latents, MIDDLE, encoder_hidden_states=embeds).sample
            for embeds in (embeds_of(prompt).expand(3, -1, -1), empty_embeds)
        )
    mask = end_token_mask(prompt)
    scores = [((text[i] - uncond[i]) * mask[i]).norm().item() / mask[i].mean().item() for i in range(3)]
    assert bright_ending(prompt) == pytest.approx(sum(scores) / 3, abs=BATCH)


def test_the_empty_prompt_scores_zero(sampled, toy_pipe):
    assert bright_ending(sampled(toy_pipe, "")) == 0.0
    assert bright_ending(sampled(toy_pipe)) > 0.0


def test_a_prompt_without_an_end_token_has_no_score(sampled, toy_pipe):
    prompt = sampled(toy_pipe)
    classes = {"text_encoder": torch.full_like(prompt.encoded.main_classes, TokenClass.PROMPT)}
    assert math.isnan(bright_ending(replace(prompt, encoded=replace(prompt.encoded, classes=classes))))


def test_the_stated_evaluations_are_those_of_the_unet(sampled, toy_pipe, counted):
    prompt = sampled(toy_pipe)
    with counted() as count:
        DETECTOR.measure(prompt)
    assert count.n_evaluations == 3 * DETECTOR.evaluations_per_image
