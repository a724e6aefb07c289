"""Hooks record what the model computes, change nothing and do not outlive their context."""

import numpy as np
import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

from flashbulb.hooks import (
    SITE_KINDS,
    NonFiniteActivation,
    SiteDidNotFire,
    capture,
    check_finite,
    find_sites,
    observe,
    over_space,
    over_tokens,
    record,
    site_modules,
    token_classes,
)
from tests.hooks.edits import n_hooks
from tests.toy import build_toy_pipe

STEP_KINDS = ("cross_out", "feed_forward")
PROMPTS = ["a red star", "", "x" * 99, "the bakery of Ada Vasari"]
TOLERANCE = 1e-4  # between batches of different size


def input_ids(pipe, prompts):
    return pipe.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def ignore(_site, _activation):
    return None


def sample(pipe):
    generator = torch.Generator().manual_seed(5)
    return pipe("a red star", num_inference_steps=2, generator=generator, output_type="np").images


def unet_step(pipe, prompt_embeds, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(prompt_embeds), 4, 8, 8, generator=generator)
    return pipe.unet(latents, 981, encoder_hidden_states=prompt_embeds).sample


def record_text(pipe, prompts):
    """Record the text sites of `prompts` without running the UNet, as screening does."""
    ids = input_ids(pipe, prompts)
    classes = token_classes(ids, pipe.tokenizer.eos_token_id, pipe.tokenizer.bos_token_id)
    sites = find_sites(pipe, ["text_mlp"])
    return record(site_modules(pipe, sites), sites, lambda: pipe.text_encoder(ids), lambda x: over_tokens(x, classes))


def test_recording_leaves_images_bit_identical(toy_pipe):
    plain = sample(toy_pipe)
    sites = find_sites(toy_pipe, [kind for kind in SITE_KINDS if kind != "text_mlp"])
    images = []
    record(site_modules(toy_pipe, sites), sites, lambda: images.append(sample(toy_pipe)), over_space, 2)
    np.testing.assert_array_equal(images[0], plain)
    assert n_hooks(toy_pipe) == 0
    np.testing.assert_array_equal(sample(toy_pipe), plain)


def test_hooks_are_gone_after_an_error(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    modules = site_modules(toy_pipe, sites)
    ids = input_ids(toy_pipe, PROMPTS)

    def fail(*_):
        assert n_hooks(toy_pipe) > 0
        raise ArithmeticError

    with pytest.raises(ArithmeticError), capture(modules):
        fail()
    assert n_hooks(toy_pipe) == 0
    with pytest.raises(ArithmeticError), observe(modules, sites, fail):
        toy_pipe.text_encoder(ids)
    assert n_hooks(toy_pipe) == 0
    with pytest.raises(ArithmeticError):
        record(modules, sites, fail, over_space)
    assert n_hooks(toy_pipe) == 0
    with pytest.raises(ArithmeticError):
        record(modules, sites, lambda: toy_pipe.text_encoder(ids), fail)
    assert n_hooks(toy_pipe) == 0


def test_site_that_did_not_fire_raises(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    modules = site_modules(toy_pipe, sites)
    ids = input_ids(toy_pipe, PROMPTS)
    with pytest.raises(SiteDidNotFire, match=r"16 of 18 sites did not fire 1 times: unet\S+ fired 0 times.*13 more"):
        record(modules, sites, lambda: toy_pipe.text_encoder(ids), over_space)
    with pytest.raises(SiteDidNotFire, match="at least once"), capture(modules):
        toy_pipe.text_encoder(ids)
    assert n_hooks(toy_pipe) == 0


def test_site_that_fired_too_often_raises(toy_pipe):
    sites = find_sites(toy_pipe, ["text_mlp"])
    ids = input_ids(toy_pipe, PROMPTS)

    def encode_twice():
        toy_pipe.text_encoder(ids)
        toy_pipe.text_encoder(ids)

    with pytest.raises(SiteDidNotFire, match="fired 2 times"):
        record(site_modules(toy_pipe, sites), sites, encode_twice, over_space)


def test_chunked_feed_forward_layers_raise():
    pipe = build_toy_pipe()
    sites = find_sites(pipe, ["feed_forward"])
    for module in pipe.unet.modules():
        if isinstance(module, BasicTransformerBlock):
            module.set_chunk_feed_forward(8, dim=1)
    with pytest.raises(SiteDidNotFire, match=r"fired 2 times.*chunked"):
        record(site_modules(pipe, sites), sites, lambda: unet_step(pipe, torch.zeros(1, 4, 32)), over_space)


def test_unknown_site_is_refused_before_the_run(toy_pipe):
    sites = find_sites(toy_pipe, ["text_mlp"])
    modules = site_modules(toy_pipe, sites[:1])
    with pytest.raises(ValueError, match="no module given for 1 sites"):
        record(modules, sites, lambda: pytest.fail("ran"), over_space)
    assert n_hooks(toy_pipe) == 0


def test_firings_are_counted(toy_pipe):
    sites = find_sites(toy_pipe, ["text_mlp"])
    with observe(site_modules(toy_pipe, sites), sites, ignore, expected_firings=3) as firings:
        for _ in range(3):
            toy_pipe.text_encoder(input_ids(toy_pipe, PROMPTS[:1]))
    assert firings == {site.name: 3 for site in sites}


def test_captured_tensors_stay_on_the_graph(toy_pipe):
    modules = site_modules(toy_pipe, find_sites(toy_pipe, ["cross_v"]))
    inputs = site_modules(toy_pipe, find_sites(toy_pipe, ["feed_forward"]))
    prompt_embeds = torch.randn(2, 6, 32, requires_grad=True)
    with capture(modules) as values, capture(inputs, "input") as neurons:
        unet_step(toy_pipe, prompt_embeds)
    for captured in (values, neurons):
        name, (tensor,) = next(iter(captured.items()))
        (gradient,) = torch.autograd.grad(tensor.square().sum(), prompt_embeds, retain_graph=True)
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("keyword", [None, "input"])
def test_capture_returns_the_modules_own_input_and_output(keyword):
    modules = {"fc2": nn.Linear(3, 2)}
    x = torch.randn(4, 3)
    with capture(modules, "input") as inputs, capture(modules, "output") as outputs:
        y = modules["fc2"](x) if keyword is None else modules["fc2"](**{keyword: x})
    assert inputs["fc2"][0] is x
    assert outputs["fc2"][0] is y


def test_cross_values_equal_the_layer_applied_to_prompt_embeds(toy_pipe):
    sites = find_sites(toy_pipe, ["cross_k", "cross_v"])
    modules = site_modules(toy_pipe, sites)
    ids = input_ids(toy_pipe, PROMPTS)
    classes = token_classes(ids, toy_pipe.tokenizer.eos_token_id, toy_pipe.tokenizer.bos_token_id)
    prompt_embeds = toy_pipe.text_encoder(ids).last_hidden_state.detach()

    def reduce(x):
        return over_tokens(x, classes)

    def project():
        for module in modules.values():
            module(prompt_embeds)

    from_step = record(modules, sites, lambda: unet_step(toy_pipe, prompt_embeds), reduce)
    alone = record(modules, sites, project, reduce)
    assert from_step.keys() == alone.keys()
    for key, values in from_step.items():
        torch.testing.assert_close(values, alone[key], rtol=0, atol=1e-6, equal_nan=True)


def test_batch_size_does_not_change_activations(toy_pipe):
    together = record_text(toy_pipe, PROMPTS)
    alone = [record_text(toy_pipe, [prompt]) for prompt in PROMPTS]
    for key, values in together.items():
        joined = torch.cat([rows[key] for rows in alone])
        torch.testing.assert_close(values, joined, rtol=0, atol=TOLERANCE, equal_nan=True)


def test_rows_of_several_firings_are_concatenated(toy_pipe):
    sites = find_sites(toy_pipe, STEP_KINDS)
    modules = site_modules(toy_pipe, sites)
    prompt_embeds = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))

    def step(seed):
        return record(modules, sites, lambda: unet_step(toy_pipe, prompt_embeds, seed), over_space)

    def both():
        for seed in (1, 2):
            unet_step(toy_pipe, prompt_embeds, seed)

    together = record(modules, sites, both, over_space, expected_firings=2)
    first, second = step(1), step(2)
    for key, values in together.items():
        assert torch.equal(values, torch.cat([first[key], second[key]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recording_is_float32_without_a_graph_and_frees_the_activations(dtype):
    pipe = build_toy_pipe()
    pipe.text_encoder.to(dtype)
    for values in record_text(pipe, PROMPTS).values():
        assert values.dtype == torch.float32
        assert not values.requires_grad
        assert values.untyped_storage().nbytes() == 4 * values.numel()


def test_reduction_of_another_shape_is_refused(toy_pipe):
    sites = find_sites(toy_pipe, ["text_mlp"])
    ids = input_ids(toy_pipe, PROMPTS)
    with pytest.raises(ValueError, match=r"/unreduced has shape \(4, 32, 64\), expected \[row, 64\]"):
        record(site_modules(toy_pipe, sites), sites, lambda: toy_pipe.text_encoder(ids), lambda x: {"unreduced": x})


def test_absent_token_class_is_finite_but_a_single_nan_or_infinity_is_not():
    keys = {"prompt_id": ["a", "b"], "seed": [0, 1]}
    values = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])
    check_finite({"site/padding_mean": values}, keys)
    with pytest.raises(NonFiniteActivation, match=r"site/abs_mean .* prompt_id=b, seed=1"):
        check_finite({"site/abs_mean": values}, keys)
    for bad in (torch.nan, torch.inf, -torch.inf):
        broken = values.clone()
        broken[0, 1] = bad
        with pytest.raises(NonFiniteActivation, match=r"site/padding_mean .* prompt_id=a, seed=0"):
            check_finite({"site/padding_mean": broken}, keys)


def test_all_nan_activations_are_not_taken_for_an_absent_class():
    classes = torch.tensor([[0, 1, 2, 3]], dtype=torch.int8)
    reduced = over_tokens(torch.full((1, 4, 2), torch.nan), classes)
    with pytest.raises(NonFiniteActivation, match="site/all_mean"):
        check_finite({f"site/{name}": values for name, values in reduced.items()}, {"prompt_id": ["a"]})
