"""Modules of UNets at the sizes that people release have the names of Stability AI's code, each its own."""

import torch
from diffusers import UNet2DConditionModel

from flashbulb.audit.additions.stability_names import autoencoder_name, unet_name
from tests.full_size import build_stable_diffusion_xl


def names_of(unet: UNet2DConditionModel) -> dict[str, str | None]:
    return {name: unet_name(name, unet) for name, layer in unet.named_modules() if [*layer.parameters(recurse=False)]}


def test_every_module_of_stable_diffusion_1_has_a_name_of_its_own() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    names = names_of(unet)
    assert None not in names.values()
    assert len(set(names.values())) == len(names)
    assert names["down_blocks.0.downsamplers.0.conv"] == "input_blocks.3.0.op"
    assert names["down_blocks.2.attentions.1.proj_in"] == "input_blocks.8.1.proj_in"
    assert names["down_blocks.3.resnets.1.norm2"] == "input_blocks.11.0.out_layers.0"
    assert names["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.1.conv"
    assert names["up_blocks.1.upsamplers.0.conv"] == "output_blocks.5.2.conv"
    assert names["up_blocks.3.attentions.2.norm"] == "output_blocks.11.1.norm"


def test_every_module_of_stable_diffusion_xl_has_a_name_of_its_own() -> None:
    names = names_of(build_stable_diffusion_xl().unet)
    assert None not in names.values()
    assert len(set(names.values())) == len(names)
    attention = "transformer_blocks.9.attn2.to_k"
    assert names["down_blocks.1.attentions.0.proj_in"] == "input_blocks.4.1.proj_in"
    assert names[f"down_blocks.2.attentions.1.{attention}"] == f"input_blocks.8.1.{attention}"
    assert names[f"mid_block.attentions.0.{attention}"] == f"middle_block.1.{attention}"
    assert names[f"up_blocks.0.attentions.2.{attention}"] == f"output_blocks.2.1.{attention}"
    assert names["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.2.conv"
    assert names["up_blocks.2.resnets.2.conv_shortcut"] == "output_blocks.8.0.skip_connection"
    assert names["add_embedding.linear_2"] == "label_emb.0.2"


def test_modules_of_the_autoencoder_have_their_names() -> None:
    assert autoencoder_name("decoder.up_blocks.0.resnets.2.conv1", 4) == "decoder.up.3.block.2.conv1"
    assert autoencoder_name("decoder.up_blocks.2.upsamplers.0.conv", 4) == "decoder.up.1.upsample.conv"
    assert autoencoder_name("encoder.down_blocks.1.resnets.0.conv_shortcut", 4) == "encoder.down.1.block.0.nin_shortcut"
    assert autoencoder_name("encoder.mid_block.attentions.0.to_out.0", 4) == "encoder.mid.attn_1.proj_out"
    assert autoencoder_name("quant_conv", 4) == "quant_conv"
