"""A substituted tensor acts as the module's own output, and only while the context is open."""

import pytest
import torch

from flashbulb.hooks.embeddings import substitute
from tests.toy import build_toy_pipe

PROMPTS = ["a red star", "the bakery of Ada Vasari"]


@pytest.fixture(scope="module")
def pipe():
    return build_toy_pipe()


def ids(pipe, prompts=PROMPTS):
    return pipe.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def encode(pipe, input_ids):
    return pipe.text_encoder(input_ids)[0]


def n_hooks(pipe):
    return sum(len(module._forward_hooks) for module in pipe.text_encoder.modules())


def test_substituted_embeddings_act_like_their_tokens(pipe):
    embedding, own = pipe.text_encoder.get_input_embeddings(), ids(pipe)
    other = own.clone()
    other[:, 1:6] = ids(pipe, ["w0rds", "w0rds"])[:, 1:6]
    with torch.no_grad():
        with substitute(embedding, embedding(other)):
            changed = encode(pipe, own)
        assert torch.equal(changed, encode(pipe, other))
        assert not torch.equal(changed, encode(pipe, own))


def test_gradients_reach_the_substituted_tensor(pipe):
    embedding = pipe.text_encoder.get_input_embeddings()
    substituted = embedding(ids(pipe)).detach().requires_grad_()
    with substitute(embedding, substituted):
        encoded = encode(pipe, ids(pipe))
    (gradient,) = torch.autograd.grad(encoded[:, 3, 0].sum(), [substituted])
    assert gradient[:, :4].abs().sum(dim=2).gt(0).all()
    assert gradient[:, 4:].eq(0).all()  # the encoder is causal


def test_dtype_of_the_module_is_kept(pipe):
    embedding = pipe.text_encoder.get_input_embeddings()
    with substitute(embedding, embedding(ids(pipe)).double()):
        assert embedding(ids(pipe)).dtype == torch.float32


@pytest.mark.parametrize("ends", ["normally", "with an error", "with another shape"])
def test_the_module_is_unchanged_afterwards(pipe, ends):
    embedding = pipe.text_encoder.get_input_embeddings()
    before, own = n_hooks(pipe), embedding(ids(pipe))
    if ends == "normally":
        with substitute(embedding, torch.zeros_like(own)):
            assert encode(pipe, ids(pipe)).isfinite().all()
    elif ends == "with an error":
        with pytest.raises(KeyError), substitute(embedding, torch.zeros_like(own)):
            raise KeyError
    else:
        shapes = r"returns \(2, 32, 32\), cannot substitute \(1, 32, 32\)"
        with pytest.raises(ValueError, match=shapes), substitute(embedding, own[:1]):
            encode(pipe, ids(pipe))
    assert n_hooks(pipe) == before
    assert torch.equal(embedding(ids(pipe)), own)
