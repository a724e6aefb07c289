"""Attention spread over all tokens has a high entropy, and attention to one token has none."""

import math
from dataclasses import replace

import pytest
import torch

from flashbulb.audit.detectors.attention_entropy import DETECTOR, attention_entropy
from tests.tolerances import ARITHMETIC
from tests.toy import MAX_POSITIONS


def with_attention(step, *layers):
    return replace(step, attention={f"layer {i}": attention for i, attention in enumerate(layers)})


def test_uniform_attention_has_the_entropy_log_n_and_attention_to_one_token_has_none(toy_step):
    step = toy_step()
    uniform = torch.full((3, 3, MAX_POSITIONS), 1 / MAX_POSITIONS)
    single = torch.zeros(3, 3, MAX_POSITIONS)
    single[..., 5] = 1
    expected = torch.full((3, 3), math.log(MAX_POSITIONS))
    torch.testing.assert_close(attention_entropy(with_attention(step, uniform)), expected)
    assert torch.equal(attention_entropy(with_attention(step, single)), torch.zeros(3, 3))
    torch.testing.assert_close(attention_entropy(with_attention(step, uniform, single)), expected / 2)


def test_spread_attention_scores_above_concentrated_attention(toy_step):
    logits = torch.randn(3, 3, MAX_POSITIONS, generator=torch.Generator().manual_seed(0))
    spread, concentrated = ((logits * sharpness).softmax(dim=2) for sharpness in (1, 3))
    step = toy_step()
    scores = [attention_entropy(with_attention(step, attention)) for attention in (spread, concentrated)]
    assert (scores[0] > scores[1]).all()


def test_the_score_equals_a_slow_oracle(toy_step):
    step = toy_step()
    measured = attention_entropy(step)
    assert measured.shape == (3, 3)
    for prompt in range(3):
        for seed in range(3):
            entropies = [
                -sum(a * math.log(a) for a in attention[prompt, seed].tolist()) for attention in step.attention.values()
            ]
            assert measured[prompt, seed].item() == pytest.approx(sum(entropies) / 4, abs=ARITHMETIC)


def test_a_step_without_attention_fails_an_assertion(toy_step):
    assert DETECTOR.reads_attention
    with pytest.raises(AssertionError, match="attention was not observed"):
        attention_entropy(with_attention(toy_step()))


def test_it_needs_no_evaluation_beyond_the_first(toy_step, count_evaluations):
    assert count_evaluations(DETECTOR, toy_step(), []) == 0
    assert DETECTOR.evaluations_per_seed == 1
