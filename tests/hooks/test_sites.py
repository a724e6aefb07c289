"""Sites are found by module class and name suffix, whatever the model's block names."""

import ast
import sys

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from flashbulb.hooks import SITE_KINDS, UnknownArchitecture, find_sites, site_modules
from tests.paths import ROOT
from tests.toy import TEXT_WIDTH, build_toy_pipe


def test_sites_of_every_kind_are_found_by_class_and_suffix(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    by_kind = {kind: [site for site in sites if site.kind == kind] for kind in SITE_KINDS}
    assert {kind: len(found) for kind, found in by_kind.items()} == {
        "text_mlp": 2,
        "cross_k": 4,
        "cross_v": 4,
        "cross_out": 4,
        "feed_forward": 4,
    }
    assert [site.name for site in by_kind["text_mlp"]] == [
        f"text_encoder.encoder.layers.{layer}.mlp.fc2" for layer in (0, 1)
    ]
    assert all(".attn2.to_v" in site.name for site in by_kind["cross_v"])
    assert {site.kind for site in sites if site.is_prompt_site} == {"text_mlp", "cross_k", "cross_v"}


def test_site_names_are_unique_and_ordered_regardless_of_the_requested_order(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    assert len({site.name for site in sites}) == len(sites)
    assert find_sites(toy_pipe, {*reversed(SITE_KINDS)}) == sites
    assert find_sites(toy_pipe, ["cross_v", "cross_v"]) == find_sites(toy_pipe, ["cross_v"])


def test_number_of_neurons_is_the_size_of_the_input_or_output(toy_pipe):
    sites = find_sites(toy_pipe, SITE_KINDS)
    modules = site_modules(toy_pipe, sites)
    assert list(modules) == [site.name for site in sites]
    for site in sites:
        n_out, n_in = modules[site.name].weight.shape
        assert site.n_neurons == (n_in if site.reads == "input" else n_out)


def test_no_kinds_give_no_sites(toy_pipe):
    assert find_sites(toy_pipe, []) == ()


def test_text_model_prefix_is_not_part_of_a_name():
    pipe = build_toy_pipe()
    config = CLIPTextConfig(**pipe.text_encoder.config.to_dict())
    pipe.text_encoder = CLIPTextModelWithProjection(config)
    sites = find_sites(pipe, ["text_mlp"])
    assert [site.name for site in sites] == [site.name for site in find_sites(build_toy_pipe(), ["text_mlp"])]
    assert sites[0].module_path == "text_model.encoder.layers.0.mlp.fc2"
    assert all(isinstance(module, nn.Linear) for module in site_modules(pipe, sites).values())


def test_each_text_encoder_of_a_pipeline_has_its_own_sites(toy_pipe):
    second = CLIPTextModelWithProjection(CLIPTextConfig(**toy_pipe.text_encoder.config.to_dict()))
    pipe = StableDiffusionXLPipeline(
        **{name: toy_pipe.components[name] for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")},
        text_encoder_2=second,
        tokenizer_2=toy_pipe.tokenizer,
        add_watermarker=False,
    )
    sites = find_sites(pipe, ["text_mlp"])
    assert [site.component for site in sites] == ["text_encoder"] * 2 + ["text_encoder_2"] * 2
    assert [site.name.partition(".")[2] for site in sites[:2]] == [site.name.partition(".")[2] for site in sites[2:]]


@pytest.mark.parametrize("projection", ["relu", "gated-gelu"])
def test_t5_neurons_are_the_input_of_the_down_projection(projection):
    pipe = build_toy_pipe()
    config = T5Config(
        vocab_size=8, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=2, feed_forward_proj=projection
    )
    pipe.text_encoder = T5EncoderModel(config)
    sites = find_sites(pipe, ["text_mlp"])
    assert [(site.n_neurons, site.reads) for site in sites] == [(24, "input")] * 2
    assert sites[0].name == "text_encoder.encoder.block.0.layer.1.DenseReluDense.wo"


class LowRankLayer(nn.Module):
    """Wraps a layer like an adapter: the base layer has the sizes, the adapter its own weights."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x)


def test_adapters_change_neither_names_nor_sizes():
    pipe = build_toy_pipe()
    before = find_sites(pipe, SITE_KINDS)
    for module in [*pipe.unet.modules()]:
        if isinstance(module, Attention):
            module.to_v = LowRankLayer(module.to_v)
            module.to_out[0] = LowRankLayer(module.to_out[0])
    after = find_sites(pipe, SITE_KINDS)
    assert after == before
    assert sum(isinstance(module, LowRankLayer) for module in site_modules(pipe, after).values()) == 8


def test_finding_sites_does_not_read_weights():
    pipe = build_toy_pipe()
    before = find_sites(pipe, SITE_KINDS)
    pipe.unet.to("meta")
    assert find_sites(pipe, SITE_KINDS) == before


def test_fused_projections_are_refused_until_they_are_unfused():
    pipe = build_toy_pipe()
    before = find_sites(pipe, SITE_KINDS)
    pipe.unet.fuse_qkv_projections()
    with pytest.raises(ValueError, match=r"to_kv.*unfuse_qkv_projections\(\)"):
        find_sites(pipe, ["cross_v"])
    pipe.unet.unfuse_qkv_projections()
    assert find_sites(pipe, SITE_KINDS) == before


def test_unknown_kind_is_refused_and_allowed_kinds_are_named(toy_pipe):
    with pytest.raises(ValueError, match=r"\['cross_q'\].*text_mlp.*feed_forward"):
        find_sites(toy_pipe, ["cross_v", "cross_q"])


def test_unknown_architecture_is_refused_and_its_classes_are_named():
    pipe = build_toy_pipe()
    pipe.unet = SD3Transformer2DModel(
        sample_size=8, num_layers=1, attention_head_dim=4, num_attention_heads=2, caption_projection_dim=8
    )
    with pytest.raises(UnknownArchitecture, match=r"SD3Transformer2DModel.*UNet2DConditionModel") as refusal:
        find_sites(pipe, ["text_mlp"])
    assert "\n" not in str(refusal.value)
    pipe.unet = None
    with pytest.raises(UnknownArchitecture, match="text_encoder=CLIPTextModel"):
        find_sites(pipe, ["text_mlp"])


def test_a_component_that_is_compiled_is_refused_with_the_way_back():
    pipe = build_toy_pipe()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    with pytest.raises(ValueError, match=r"unet is compiled; give it back with pipe.unet = pipe.unet._orig_mod"):
        find_sites(pipe, ["feed_forward"])


def test_requested_kind_without_a_site_is_refused():
    pipe = build_toy_pipe()
    pipe.text_encoder = None
    with pytest.raises(UnknownArchitecture, match="no site of kind text_mlp"):
        find_sites(pipe, SITE_KINDS)


def test_attention_with_added_text_projections_is_not_a_cross_site():
    pipe = build_toy_pipe()
    pipe.unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    with pytest.raises(UnknownArchitecture, match="no site of kind cross_v"):
        find_sites(pipe, ["cross_v"])


def test_site_of_another_model_is_refused(toy_pipe):
    other = build_toy_pipe()
    other.unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=8,
    )
    with pytest.raises(ValueError, match=r"no module unet\.down_blocks\.1"):
        site_modules(other, find_sites(toy_pipe, ["cross_v"]))


def test_importing_hooks_imports_neither_nnsight_nor_the_other_packages():
    allowed = {*sys.stdlib_module_names, "diffusers", "flashbulb", "numpy", "pyarrow", "torch"}
    for path in (ROOT / "hooks").glob("*.py"):
        if path.name == "fused.py":  # a kernel, imported where a GPU computes
            continue
        for node in ast.parse(path.read_text()).body:  # only statements that run at import
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= allowed, path
