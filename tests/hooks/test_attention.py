"""The observed probabilities are those that the layer uses, and observing changes nothing."""

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

from flashbulb.hooks import SiteDidNotFire, capture, find_sites
from flashbulb.hooks.attention import cross_attention_layers, observe_attention
from tests.tolerances import ARITHMETIC
from tests.toy import build_toy_pipe


def unet_step(unet):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    prompt_embeds = torch.randn(2, 6, 32, generator=generator)
    with torch.no_grad():
        return unet(latents, 981, encoder_hidden_states=prompt_embeds).sample


def observe_run(layers, run):
    observed = {}
    with observe_attention(layers, lambda name, probabilities: observed.setdefault(name, []).append(probabilities)):
        run()
    return observed


def n_hooks(unet):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in unet.modules())


def test_layers_are_those_whose_keys_are_recorded(toy_pipe):
    paths = [site.module_path for site in find_sites(toy_pipe, ["cross_k"])]
    assert [f"{path}.to_k" for path in cross_attention_layers(toy_pipe.unet)] == paths


def test_probabilities_times_values_give_the_layers_output(toy_pipe):
    layers = cross_attention_layers(toy_pipe.unet)
    values = {name: layer.to_v for name, layer in layers.items()}
    with capture(values) as captured_values, capture(layers) as outputs:
        observed = observe_run(layers, lambda: unet_step(toy_pipe.unet))
    for name, layer in layers.items():
        (probabilities,) = observed[name]
        value = captured_values[name][0].unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        output = layer.to_out[0]((probabilities @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(output, outputs[name][0], rtol=0, atol=ARITHMETIC)


def test_probabilities_equal_those_of_an_unfused_processor():
    unet = build_toy_pipe().unet
    layers = cross_attention_layers(unet)
    expected = {}

    class RecordingProcessor(AttnProcessor):
        def __call__(self, attn, *args, **kwargs):
            plain = attn.get_attention_scores

            def keep(*inputs):
                expected[attn] = plain(*inputs)
                return expected[attn]

            attn.get_attention_scores = keep
            output = super().__call__(attn, *args, **kwargs)
            del attn.get_attention_scores
            return output

    for layer in layers.values():
        layer.set_processor(RecordingProcessor())
    observed = observe_run(layers, lambda: unet_step(unet))
    for name, layer in layers.items():
        (probabilities,) = observed[name]
        assert probabilities.shape == (2, layer.heads, 16, 6)
        torch.testing.assert_close(probabilities.flatten(0, 1), expected[layer], rtol=0, atol=ARITHMETIC)


@pytest.mark.parametrize("norm", [None, "layer_norm", "rms_norm"])
def test_query_and_key_norms_are_applied(norm):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4, qk_norm=norm)
        pixels, positions = torch.randn(3, 5, 8), torch.randn(3, 7, 6)
    observed = observe_run({"layer": layer}, lambda: layer(pixels, positions))
    value = layer.to_v(positions).unflatten(-1, (2, 4)).transpose(1, 2)
    output = layer.to_out[0]((observed["layer"][0] @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(output, layer(pixels, positions), rtol=0, atol=ARITHMETIC)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_are_float32_and_sum_to_one(dtype):
    unet = build_toy_pipe().unet.to(dtype)
    layers = cross_attention_layers(unet)
    latents, prompt_embeds = torch.ones(1, 4, 8, 8, dtype=dtype), torch.ones(1, 6, 32, dtype=dtype)
    observed = observe_run(layers, lambda: unet(latents, 1, encoder_hidden_states=prompt_embeds))
    for (probabilities,) in observed.values():
        assert probabilities.dtype == torch.float32
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(1, 4, 16), rtol=0, atol=ARITHMETIC)


def test_every_evaluation_is_observed(toy_pipe):
    layers = cross_attention_layers(toy_pipe.unet)
    observed = observe_run(layers, lambda: (unet_step(toy_pipe.unet), unet_step(toy_pipe.unet)))
    for first, second in observed.values():
        assert torch.equal(first, second)


def test_observing_leaves_the_output_bit_identical(toy_pipe):
    outputs = []
    observe_run(cross_attention_layers(toy_pipe.unet), lambda: outputs.append(unet_step(toy_pipe.unet)))
    assert torch.equal(outputs[0], unet_step(toy_pipe.unet))
    assert n_hooks(toy_pipe.unet) == 0


def test_hooks_are_gone_after_an_error(toy_pipe):
    def fail(_name, _probabilities):
        assert n_hooks(toy_pipe.unet) > 0
        raise ArithmeticError

    with pytest.raises(ArithmeticError), observe_attention(cross_attention_layers(toy_pipe.unet), fail):
        unet_step(toy_pipe.unet)
    assert n_hooks(toy_pipe.unet) == 0


def test_layer_that_did_not_fire_raises(toy_pipe):
    layers = cross_attention_layers(toy_pipe.unet)
    with pytest.raises(SiteDidNotFire, match=rf"{len(layers)} of {len(layers)} attention layers did not fire"):
        observe_run(layers, lambda: None)
    assert n_hooks(toy_pipe.unet) == 0


def test_fused_projections_raise():
    unet = build_toy_pipe().unet
    unet.fuse_qkv_projections()
    with pytest.raises(SiteDidNotFire, match="fused projections"):
        observe_run(cross_attention_layers(unet), lambda: unet_step(unet))
