"""Conditionings are selected, repeated and joined row by row, whatever tensors they hold."""

import pytest
import torch

from flashbulb.audit.model.conditioning import Conditioning


@pytest.fixture
def conditioning() -> Conditioning:
    """Three prompts of two tensors, as a model with two text encoders has them."""
    return Conditioning({"embeds": torch.randn(3, 5, 4), "pooled": torch.randn(3, 4)})


def assert_equal(conditioning: Conditioning, other: Conditioning) -> None:
    assert conditioning.tensors.keys() == other.tensors.keys()
    for name, tensor in conditioning.tensors.items():
        assert torch.equal(tensor, other.tensors[name])


@pytest.mark.parametrize("chosen", [[2, 0, 0], torch.tensor([2, 0, 0])])
def test_rows_are_selected_in_the_given_order(conditioning, chosen):
    rows = conditioning.rows(chosen)
    assert len(rows) == 3
    for name, tensor in conditioning.tensors.items():
        assert torch.equal(rows.tensors[name], torch.stack([tensor[2], tensor[0], tensor[0]]))


def test_a_slice_selects_what_a_list_does(conditioning):
    assert_equal(conditioning.rows(slice(1, 3)), conditioning.rows([1, 2]))
    assert_equal(conditioning.rows(slice(0, 0)), conditioning.rows([]))


def test_copies_of_a_row_lie_side_by_side(conditioning):
    assert_equal(conditioning.repeat(2), conditioning.rows([0, 0, 1, 1, 2, 2]))


def test_the_rows_joined_are_the_whole(conditioning):
    each = conditioning.each()
    assert [len(row) for row in each] == [1, 1, 1]
    assert_equal(Conditioning.join(each), conditioning)


def test_the_values_of_a_row_are_counted(conditioning):
    assert conditioning.n_values == conditioning.rows([1]).n_values == 5 * 4 + 4


def test_what_is_kept_has_no_gradient_and_full_precision(conditioning):
    half = conditioning.to("cpu", torch.bfloat16)
    assert all(tensor.dtype == torch.bfloat16 for tensor in half.tensors.values())
    half.tensors["embeds"].requires_grad_()
    kept = half.kept()
    assert all(tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in kept.tensors.values())
    assert_equal(kept.to("cpu", torch.bfloat16), half)
