"""Reductions equal slow loops, and an absent token class stays NaN."""

import math

import pytest
import torch

from flashbulb.hooks import (
    SPACE_REDUCTIONS,
    TOKEN_REDUCTIONS,
    TokenClass,
    TokenReducer,
    over_space,
    over_tokens,
    token_classes,
)
from flashbulb.hooks.accelerated import tokens_in_few_calls

BOS, EOS = 49406, 49407
S, P, E, D = TokenClass


@pytest.mark.parametrize(
    ("ids", "bos", "expected"),
    [
        ([BOS, 5, 6, EOS, EOS, EOS], BOS, [S, P, P, E, D, D]),  # SD 1 pads with the end token
        ([BOS, 5, 6, EOS, 0, 0], BOS, [S, P, P, E, D, D]),  # SD 2 pads with "!"
        ([BOS, 0, 6, EOS, 0, 0], BOS, [S, P, P, E, D, D]),  # ... which may also be a token of the prompt
        ([BOS, 5, 6, 7, 8, EOS], BOS, [S, P, P, P, P, E]),  # truncated
        ([BOS, EOS, EOS, EOS, EOS, EOS], BOS, [S, E, D, D, D, D]),  # empty
        ([5, 6, EOS, 0, 0, 0], None, [P, P, E, D, D, D]),  # no start token
        ([EOS, 0, 0, 0, 0, 0], None, [E, D, D, D, D, D]),  # ... and empty
        ([5, 6, 7, 8, 9, 10], None, [P, P, P, P, P, P]),  # no end token
    ],
)
def test_positions_are_classified_by_start_and_first_end(ids, bos, expected):
    classes = token_classes(torch.tensor([ids]), EOS, bos)
    assert classes.dtype == torch.int8
    assert classes.tolist() == [[int(token_class) for token_class in expected]]


def test_toy_prompts_are_classified(toy_pipe):
    tokenizer = toy_pipe.tokenizer
    encoded = tokenizer(["ab", "x" * 99], padding="max_length", truncation=True, return_tensors="pt")
    classes = token_classes(encoded.input_ids, tokenizer.eos_token_id, tokenizer.bos_token_id)
    assert classes[0].tolist() == [0, 1, 1, 2] + [3] * 28
    assert classes[1].tolist() == [0] + [1] * 30 + [2]


def slow_over_tokens(x, classes):
    n_prompts, n_positions, n_neurons = x.shape
    reduced = {key: torch.full((n_prompts, n_neurons), math.nan) for key in TOKEN_REDUCTIONS}
    for key in TOKEN_REDUCTIONS:
        name, how = key.split("_")
        for prompt in range(n_prompts):
            selected = list(TokenClass) if name == "all" else [TokenClass[name.upper()]]
            inside = [p for p in range(n_positions) if classes[prompt, p] in selected]
            for neuron in range(n_neurons if inside else 0):
                values = [abs(x[prompt, p, neuron].item()) for p in inside]
                reduced[key][prompt, neuron] = max(values) if how == "max" else sum(values) / len(values)
    return reduced


@pytest.mark.parametrize("reduce", [over_tokens, tokens_in_few_calls])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reduction_equals_slow_oracle(dtype, reduce):
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    ids = [[1, 5, 6, 2, 2, 2], [1, 5, 6, 7, 8, 2], [1, 2, 2, 2, 2, 2], [5, 6, 7, 8, 9, 9]]
    classes = token_classes(torch.tensor(ids), eos_token_id=2, bos_token_id=1)
    reduced, expected = reduce(x, classes), slow_over_tokens(x, classes)
    assert tuple(reduced) == TOKEN_REDUCTIONS
    for key, values in reduced.items():
        torch.testing.assert_close(values, expected[key], equal_nan=True)


@pytest.mark.parametrize("reduce", [over_tokens, tokens_in_few_calls])
def test_truncated_prompt_has_no_padding_and_an_empty_one_no_prompt(reduce):
    classes = token_classes(torch.tensor([[1, 5, 6, 2], [1, 2, 2, 2]]), eos_token_id=2, bos_token_id=1)
    reduced = reduce(torch.ones(2, 4, 3), classes)
    for key in TOKEN_REDUCTIONS:
        absent = reduced[key].isnan().all(dim=1).tolist()
        assert absent == [key.startswith("padding"), key.startswith("prompt")], key


def test_half_precision_neither_overflows_nor_loses_small_values():
    x = torch.full((1, 4096, 1), 60000.0, dtype=torch.float16)
    assert over_space(x)["abs_mean"].item() == 60000.0
    classes = torch.full((1, 4096), TokenClass.PROMPT, dtype=torch.int8)
    assert over_tokens(x, classes)["prompt_mean"].item() == 60000.0


@pytest.mark.parametrize("n_neurons", [3, 17, 64])
@pytest.mark.parametrize("n_positions", [6, 32, 77, 300])
def test_positions_that_no_prompt_reaches_are_left_out_without_changing_a_bit(n_positions, n_neurons):
    generator = torch.Generator().manual_seed(n_positions)
    x = torch.randn(5, n_positions, n_neurons, generator=generator)
    ids = torch.full((5, n_positions), 9)
    for row, length in zip(ids, torch.randint(1, n_positions, (5,), generator=generator).tolist(), strict=True):
        row[length:], row[0] = 2, 1
    classes = token_classes(ids, eos_token_id=2, bos_token_id=1)
    before, reducer = x.clone(), TokenReducer(classes)
    for reduced in (reducer(x), reducer(x)):
        for token_class in (TokenClass.PROMPT, TokenClass.PADDING):
            members, n = x.abs() * (classes == token_class)[..., None], (classes == token_class).sum(dim=1)[:, None]
            mean, largest = (reduced[f"{token_class.name.lower()}_{how}"] for how in ("mean", "max"))
            assert torch.equal(mean.nan_to_num(), (members.sum(dim=1) / n).nan_to_num())
            assert torch.equal(largest.nan_to_num(), members.amax(dim=1))
    assert torch.equal(x, before)


@pytest.mark.parametrize("spoilt", [None, (0, 2), (0, 40), (3, 1)])
@pytest.mark.parametrize("wanted", [("prompt_mean", "end_mean"), ("prompt_max",), ("padding_mean", "start_mean")])
def test_some_reductions_are_those_of_all_to_the_bit(wanted, spoilt):
    x = torch.randn(4, 77, 17, generator=torch.Generator().manual_seed(0))
    if spoilt is not None:
        x[*spoilt, 3], x[*spoilt, 4] = torch.inf, torch.nan
    ids = torch.full((4, 77), 9)
    for row, length in zip(ids, (9, 1, 77, 30), strict=True):
        row[length:], row[0] = 2, 1
    classes = token_classes(ids, eos_token_id=2, bos_token_id=1)
    some, everything = TokenReducer(classes, wanted)(x), TokenReducer(classes)(x)
    assert set(some) == set(wanted)
    for name, values in some.items():
        assert torch.equal(values.nan_to_num(nan=-1.0), everything[name].nan_to_num(nan=-1.0)), name


def test_positions_of_no_class_count_in_no_class():
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 1, 1, 2, 3, 3], [0, 1, 2, 3, 3, 3]], dtype=torch.int8)
    expected = over_tokens(x, classes)
    reduced = tokens_in_few_calls(x, classes.masked_fill(classes == TokenClass.PADDING, -1))
    for name in ("start_mean", "prompt_mean", "prompt_max", "end_mean"):
        torch.testing.assert_close(reduced[name], expected[name])
    assert reduced["padding_mean"].isnan().all()


def test_infinity_affects_only_its_class_and_the_mean_over_all():
    classes = torch.tensor([[0, 1, 2, 3]], dtype=torch.int8)
    x = torch.ones(1, 4, 1)
    x[0, 3] = torch.inf
    infinite = {key for key, values in over_tokens(x, classes).items() if values.isinf().any()}
    assert infinite == {"all_mean", "padding_mean", "padding_max"}


def test_no_infinity_is_lost_in_few_calls():
    classes = torch.tensor([[0, 1, 2, 2]], dtype=torch.int8)  # without padding
    x = torch.ones(1, 4, 2)
    x[0, 1, 0] = torch.nan
    reduced = tokens_in_few_calls(x, classes)
    assert {key for key, values in reduced.items() if values[0, 0].isinf()} >= {"all_mean", "prompt_mean", "prompt_max"}
    assert {key for key, values in reduced.items() if values[0, 1].isnan()} == {"padding_mean", "padding_max"}
    assert {key for key, values in reduced.items() if values[0, 0].isnan()} == {"padding_mean", "padding_max"}


def test_space_reduction_equals_slow_oracle():
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    reduced = over_space(x)
    assert tuple(reduced) == SPACE_REDUCTIONS
    for latent in range(2):
        for neuron in range(3):
            values = x[latent, :, neuron].tolist()
            expected = {
                "abs_max": max(map(abs, values)),
                "abs_mean": sum(map(abs, values)) / 5,
                "mean": sum(values) / 5,
            }
            for key, value in expected.items():
                assert reduced[key][latent, neuron].item() == pytest.approx(value, abs=1e-6)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"latent, pixel, neuron.*\(2, 3, 4, 4\)"):
        over_space(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="at least one pixel"):
        over_space(torch.zeros(2, 0, 4))
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) and \(2, 4\)"):
        over_tokens(torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.int8))
    with pytest.raises(ValueError, match=r"\(4,\)"):
        token_classes(torch.zeros(4, dtype=torch.long), 2, 1)
