"""Name modules as Stability AI's code does: in single-file checkpoints, and in LoRAs of kohya's scripts for XL."""

from __future__ import annotations

import re
from typing import Any

_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")

_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_CODER_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")

_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_OPEN_CLIP_OUTER = {"embeddings.token_embedding": "token_embedding", "final_layer_norm": "ln_final"}


def unet_name(module: str, unet: Any) -> str | None:
    """Return the name of a module of a UNet, `input_blocks.4.1.proj_in`; None if it has none."""
    if module in _OUTER:
        return _OUTER[module]
    if (match := _BLOCK.fullmatch(module)) is None:
        return None
    side, block, kind, index, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    rest = _RESNET.get(rest, rest) if kind == "resnets" else rest
    if side == "mid":
        return f"middle_block.{2 * index if kind == 'resnets' else 1}.{rest}"
    blocks = getattr(unet, f"{side}_blocks")
    n = sum(len(earlier.resnets) + (side == "down") for earlier in blocks[:block])
    held = blocks[block]
    if kind == "downsamplers":
        return f"input_blocks.{1 + n + len(held.resnets)}.0.op"
    if side == "down":
        return f"input_blocks.{1 + n + index}.{int(kind == 'attentions')}.{rest}"
    place = len(held.resnets) - 1 if kind == "upsamplers" else index
    part = {"resnets": 0, "attentions": 1, "upsamplers": 1 + hasattr(held, "attentions")}[kind]
    return f"output_blocks.{n + place}.{part}.{rest}"


def autoencoder_name(module: str, n_blocks: int) -> str:
    """Return the name of a module of an autoencoder, `decoder.up.3.block.0.conv1`."""
    coder, _, name = module.partition(".")
    if coder not in ("encoder", "decoder"):
        return module
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if match := re.fullmatch(r"mid_block\.resnets\.(\d+)\.(.+)", name):
        return f"{coder}.mid.block_{int(match[1]) + 1}.{match[2]}"
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", name):
        return f"{coder}.mid.attn_1.{_ATTENTION.get(match[1], match[1])}"
    if match := _CODER_BLOCK.fullmatch(name):
        side, kind, index, rest = match[1], match[3], match[4], match[5]
        block = int(match[2]) if side == "down" else n_blocks - 1 - int(match[2])
        part = f"block.{index}" if kind == "resnets" else kind.removesuffix("rs")  # downsamplers.0 is downsample
        return f"{coder}.{side}.{block}.{part}.{rest}"
    return f"{coder}.{name}"


def open_clip_name(module: str) -> str:
    """Return the name of a module of an OpenCLIP text encoder; queries, keys and values are one weight there."""
    if module in _OPEN_CLIP_OUTER:
        return _OPEN_CLIP_OUTER[module]
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", module):
        return f"transformer.resblocks.{match[1]}.{_OPEN_CLIP.get(match[2], match[2])}"
    return module
