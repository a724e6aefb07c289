"""Attention that spreads over all tokens has a high entropy; it is that of Stable Diffusion's fourth layer."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from flashbulb.audit.detectors.attention_entropy import DETECTOR, attention_entropy, last_of_second_block
from flashbulb.hooks.attention import cross_attention_layers, observe_attention
from tests.tolerances import ARITHMETIC
from tests.toy import MAX_POSITIONS, TEXT_WIDTH

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
"""The second down block of the toy UNet has one cross-attention layer."""


def with_attention(step, attention):
    return replace(step, attention={**step.attention, LAYER: attention})


def stable_diffusion_unet() -> UNet2DConditionModel:
    """A UNet of the structure of Stable Diffusion 1.4, narrow."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    ).eval()


def test_in_the_structure_of_stable_diffusion_it_is_the_fourth_of_sixteen_layers_that_run():
    unet, ran = stable_diffusion_unet(), []
    with (
        torch.no_grad(),
        observe_attention(cross_attention_layers(unet), lambda layer, _probabilities: ran.append(layer)),
    ):
        unet(torch.zeros(1, 4, 8, 8), 981, encoder_hidden_states=torch.zeros(1, 4, TEXT_WIDTH))
    assert len(ran) == 16
    assert last_of_second_block(list(cross_attention_layers(unet))) == [ran[3]]
    assert ran[3] == "down_blocks.1.attentions.1.transformer_blocks.0.attn2"


@pytest.mark.parametrize(
    "layers", [[], ["down_blocks.0.attentions.0.transformer_blocks.0.attn2", "mid_block.attentions.0.attn2"]]
)
def test_a_model_without_cross_attention_in_its_second_down_block_has_no_such_layer(layers):
    assert last_of_second_block(layers) == []


def test_uniform_attention_has_the_entropy_log_n_and_attention_to_one_token_has_none(toy_step):
    step = toy_step()
    single = torch.zeros(3, 3, MAX_POSITIONS)
    single[..., 5] = 1
    measured = attention_entropy(with_attention(step, torch.full((3, 3, MAX_POSITIONS), 1 / MAX_POSITIONS)))
    torch.testing.assert_close(measured, torch.full((3, 3), math.log(MAX_POSITIONS)))
    assert torch.equal(attention_entropy(with_attention(step, single)), torch.zeros(3, 3))


def test_spread_attention_scores_above_concentrated_attention(toy_step):
    logits = torch.randn(3, 3, MAX_POSITIONS, generator=torch.Generator().manual_seed(0))
    spread, concentrated = ((logits * sharpness).softmax(dim=2) for sharpness in (1, 3))
    step = toy_step()
    scores = [attention_entropy(with_attention(step, attention)) for attention in (spread, concentrated)]
    assert (scores[0] > scores[1]).all()


class Keeping(AttnProcessor):
    """Diffusers' unfused attention, which keeps its probabilities as the authors' edited classes do."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, *args, **kwargs):
        query, key = (
            attn.head_to_batch_dim(projection(x))
            for projection, x in ((attn.to_q, hidden_states), (attn.to_k, encoder_hidden_states))
        )
        self.probabilities = attn.get_attention_scores(query, key)  # [head, pixel, position]
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs)


def test_the_score_is_that_of_the_authors_code(toy_step, toy_pipe):
    step = toy_step()
    measured, layer, keeping = attention_entropy(step), toy_pipe.unet.get_submodule(LAYER), Keeping()
    before = layer.processor
    layer.set_processor(keeping)
    try:
        for prompt, embeds in enumerate(step.conditioning.tensors["prompt_embeds"]):
            for seed, latents in enumerate(step.seeds.latents):
                with torch.no_grad():
                    toy_pipe.unet(latents[None], step.timestep, encoder_hidden_states=embeds[None])
                attention = keeping.probabilities.mean(dim=(0, 1)).tolist()  # over heads and pixels
                expected = -sum(a * math.log(a) for a in attention)
                assert measured[prompt, seed].item() == pytest.approx(expected, abs=ARITHMETIC)
    finally:
        layer.set_processor(before)


def test_a_step_without_attention_fails_an_assertion(toy_step):
    with pytest.raises(AssertionError, match="the second down block was not observed"):
        attention_entropy(replace(toy_step(), attention={}))


def test_it_needs_no_evaluation_beyond_the_first(toy_step, count_evaluations):
    assert count_evaluations(DETECTOR, toy_step(), []) == 0
    assert DETECTOR.evaluations_per_seed == 1
