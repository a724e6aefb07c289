"""The mean entropy takes every cross-attention layer, each alike."""

from dataclasses import replace

import torch

from flashbulb.audit.detectors.attention_entropy import attention_entropy
from flashbulb.audit.detectors.mean_attention_entropy import DETECTOR, mean_attention_entropy
from flashbulb.hooks.attention import cross_attention_layers


def test_it_is_the_mean_of_the_entropies_of_single_layers(toy_step, toy_pipe):
    step = toy_step()
    layers = cross_attention_layers(toy_pipe.unet)
    assert DETECTOR.reads_attention is not None
    assert set(DETECTOR.reads_attention(layers)) == set(step.attention) == set(layers)
    second_block = next(layer for layer in step.attention if layer.startswith("down_blocks.1."))
    singles = [
        attention_entropy(replace(step, attention={second_block: attention})) for attention in step.attention.values()
    ]
    torch.testing.assert_close(mean_attention_entropy(step), torch.stack(singles).mean(dim=0))


def test_it_needs_no_evaluation_beyond_the_first(toy_step, count_evaluations):
    assert count_evaluations(DETECTOR, toy_step(), []) == 0
    assert DETECTOR.evaluations_per_seed == 1
