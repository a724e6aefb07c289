"""A LoRA is merged completely, as trained, and into the weights that it names; anything else is refused in one line."""

import contextlib
import json
import re

import pytest
import torch

from flashbulb.audit.model.denoiser import Denoiser
from flashbulb.audit.model.families import open_denoiser
from flashbulb.audit.model.loading.pipelines import load_model
from tests.audit.files.loras import (
    RANK,
    TRAINED,
    assert_same,
    diffusers_names,
    fused_,
    kohya_names,
    load,
    lora_file,
    lora_weights,
    some_factors,
)
from tests.toy import build_toy_pipe, build_toy_xl_pipe
from tests.toy_transformers import build_toy_flux_pipe, build_toy_sd3_pipe

ALPHA = 3.0


@pytest.mark.parametrize("names", [diffusers_names, kohya_names])
def test_scale_1_equals_weights_that_were_fused(base, tmp_path, names):
    factors = some_factors(build_toy_pipe(), TRAINED)
    path = lora_file(tmp_path / "lora.safetensors", lora_weights(factors, names))
    assert_same(load(base, path).pipe, fused_(build_toy_pipe(), factors, 1.0), 1e-6)
    assert_same(load(base, f"{path}:-0.5").pipe, fused_(build_toy_pipe(), factors, -0.5), 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scale_0_equals_the_base_bit_for_bit(base, tmp_path, weights, dtype):
    path = lora_file(tmp_path / "lora.safetensors", weights)
    plain = load_model(str(base), device="cpu", dtype=getattr(torch, dtype), allow_pickle=False)
    off = load(base, f"{path}:0", dtype=dtype)
    assert_same(off.pipe, plain.pipe)
    merged = load(base, path, dtype=dtype)
    with merged.loras.off():
        assert_same(merged.pipe, plain.pipe)
    assert_same(merged.pipe, load(base, path, dtype=dtype).pipe)
    assert len({plain.fingerprint, off.fingerprint, merged.fingerprint}) == 3


def test_loras_are_on_again_after_an_error(base, tmp_path, weights):
    path = lora_file(tmp_path / "lora.safetensors", weights)
    model = load(base, path)
    with contextlib.suppress(KeyError), model.loras.off():
        raise KeyError
    assert_same(model.pipe, load(base, path).pipe)


def test_loras_are_taken_out_of_a_pipeline_that_was_moved_since(base, tmp_path, weights):
    model = load(base, lora_file(tmp_path / "lora.safetensors", weights))
    model.pipe.to(torch.float64)
    with model.loras.off():
        assert_same(model.pipe, load(base).pipe.to(torch.float64))


def test_several_loras_add_up(base, tmp_path):
    first = some_factors(build_toy_pipe(), TRAINED, seed=1)
    second = some_factors(build_toy_pipe(), ("unet",), rank=3, seed=2)
    paths = [
        lora_file(tmp_path / f"{i}.safetensors", lora_weights(factors)) for i, factors in enumerate((first, second))
    ]
    expected = fused_(fused_(build_toy_pipe(), first, 1.0), second, 0.5)
    model = load(base, paths[0], f"{paths[1]}:0.5")
    assert_same(model.pipe, expected, 1e-6)
    with model.loras.off():
        assert_same(model.pipe, build_toy_pipe())


def test_alpha_is_read_from_weights_and_from_metadata(base, tmp_path):
    factors = some_factors(build_toy_pipe(), ("unet",))
    expected = fused_(build_toy_pipe(), factors, ALPHA / RANK)
    weights = lora_weights(factors, kohya_names)
    weights |= {key.replace(".lora_up.weight", ".alpha"): torch.tensor(ALPHA) for key in weights if "lora_up" in key}
    assert_same(load(base, lora_file(tmp_path / "kohya.safetensors", weights)).pipe, expected, 1e-6)
    config = {"unet.r": RANK, "unet.lora_alpha": ALPHA, "unet.use_rslora": False}
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    path = lora_file(tmp_path / "peft.safetensors", lora_weights(factors), metadata)
    assert_same(load(base, path).pipe, expected, 1e-6)
    config |= {"unet.lora_alpha": 1, "unet.use_rslora": True, "unet.alpha_pattern": {"proj_in": ALPHA}}
    path = lora_file(tmp_path / "rs.safetensors", lora_weights(factors), {"lora_adapter_metadata": json.dumps(config)})
    expected = build_toy_pipe()
    for place in factors:
        alpha = ALPHA if place[1].endswith(".proj_in") else 1
        fused_(expected, {place: factors[place]}, alpha / RANK**0.5)
    assert_same(load(base, path).pipe, expected, 1e-6)


def test_older_names_of_diffusers_are_read(base, tmp_path):
    def old_names(component: str, module: str) -> tuple[str, str]:
        if component == "text_encoder":
            stem = f"{component}.text_model.{module}.lora_linear_layer"
            return f"{stem}.down.weight", f"{stem}.up.weight"
        stem = re.sub(r"(attn\d)\.(to_\w+?)(?:\.0)?$", r"\1.processor.\2_lora", module)
        stem = f"{component}.{stem}" + ("" if stem.endswith("_lora") else ".lora")
        return f"{stem}.down.weight", f"{stem}.up.weight"

    factors = some_factors(build_toy_pipe(), TRAINED)
    path = lora_file(tmp_path / "old.safetensors", lora_weights(factors, old_names))
    assert_same(load(base, path).pipe, fused_(build_toy_pipe(), factors, 1.0), 1e-6)


def test_every_layer_of_a_stable_diffusion_xl_file_in_stability_names_is_found(tmp_path):
    """The names are those of diffusers' own conversion, which reads files of kohya's scripts."""
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    from flashbulb.audit.additions.lora_keys import find_pairs

    pipe = build_toy_xl_pipe()
    stability = {
        "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
        "input_blocks_1_0_emb_layers_1": "down_blocks.0.resnets.0.time_emb_proj",
        "input_blocks_2_0_op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks_3_1_proj_in": "down_blocks.1.attentions.0.proj_in",
        "input_blocks_3_1_transformer_blocks_0_attn1_to_out_0": (
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
        ),
        "input_blocks_3_0_skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
        "middle_block_0_out_layers_3": "mid_block.resnets.0.conv2",
        "middle_block_1_proj_out": "mid_block.attentions.0.proj_out",
        "middle_block_2_in_layers_2": "mid_block.resnets.1.conv1",
        "output_blocks_0_1_transformer_blocks_0_ff_net_0_proj": (
            "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj"
        ),
        "output_blocks_1_2_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_2_0_in_layers_2": "up_blocks.1.resnets.0.conv1",
        "time_embed_0": "time_embedding.linear_1",
        "label_emb_0_2": "add_embedding.linear_2",
        "out_2": "conv_out",
        "input_blocks_0_0": "conv_in",
    }
    keys = [f"lora_unet_{name}.lora_{side}.weight" for name in stability for side in ("down", "up")]
    pairs = find_pairs(tmp_path / "x.safetensors", keys, pipe, "unet")
    assert {f"lora_unet_{name}.lora_down.weight": module for name, module in stability.items()} == {
        pair.down: module for (_, module), pair in pairs.items()
    }
    theirs = _maybe_map_sgm_blocks_to_diffusers({f"lora_unet_{name}.x": 0 for name in stability}, pipe.unet.config)
    named = {"input_blocks": "down_blocks", "middle_block": "mid_block", "output_blocks": "up_blocks"}
    moved = {re.sub("|".join(named), lambda found: named[found[0]], key) for key in theirs}
    for module in stability.values():
        if "attentions" in module or "samplers" in module:
            end = module.replace(".", "_").removesuffix("downsamplers_0_conv")
            assert any(key.startswith(f"lora_unet_{end}") for key in moved), module


@pytest.mark.parametrize(
    ("build", "components"),
    [
        (build_toy_xl_pipe, ("unet", "text_encoder", "text_encoder_2")),
        (build_toy_sd3_pipe, ("transformer", "text_encoder")),
        (build_toy_flux_pipe, ("transformer", "text_encoder")),
    ],
)
def test_other_families_have_loras_too(tmp_path, build, components):
    pipe = build()
    pipe.save_pretrained(tmp_path / "model")
    factors = some_factors(pipe, components)
    path = lora_file(tmp_path / "lora.safetensors", lora_weights(factors))
    assert_same(load(tmp_path / "model", path).pipe, fused_(build(), factors, 1.0), 1e-6)


def test_sites_are_those_of_the_base_and_the_prediction_changes(base, tmp_path, weights):
    path = lora_file(tmp_path / "lora.safetensors", weights)
    plain, changed = (open_denoiser(load(base, *loras).pipe) for loras in ((), (path,)))
    assert plain.sites(plain.site_kinds()) == changed.sites(changed.site_kinds())

    def predicted(denoiser: Denoiser) -> torch.Tensor:
        latents = torch.ones(1, *denoiser.latent_shape)
        return denoiser.predict(
            latents, denoiser.first_timestep(10), denoiser.encode(["a red star"]).conditioning
        ).native

    with torch.no_grad():
        assert not torch.allclose(predicted(plain), predicted(changed), atol=1e-3)


def test_the_fingerprint_depends_on_the_file_and_its_scale(base, tmp_path, weights):
    path = lora_file(tmp_path / "lora.safetensors", weights)
    renamed = lora_file(tmp_path / "style:2.safetensors", weights)
    same = {load(base, given).fingerprint for given in (path, f"{path}:1", f"{path}:1.0", renamed, f"{renamed}:1")}
    assert len(same) == 1
    assert load(base, f"{path}:0.5").fingerprint not in same
    lora_file(path, {key: tensor * 2 for key, tensor in weights.items()})
    assert load(base, path).fingerprint not in same
