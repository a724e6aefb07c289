"""Write denoisers as GGUF files, as converters do: matrices quantized, vectors as float32, the rest as float16."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor, nn

from flashbulb.audit.additions.stability_names import unet_name
from flashbulb.audit.model.network import dense

_SD3_OUTER = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_SD3_INNER = {
    **{f"attn.to_{letter}": "x_block.attn.qkv" for letter in "qkv"},
    **{f"attn.add_{letter}_proj": "context_block.attn.qkv" for letter in "qkv"},
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}


def write_gguf(
    path: Path, weights: Mapping[str, Tensor], kind: str, reshaped: Mapping[str, Iterable[int]] | None = None
) -> Path:
    """Write weights as a type such as `Q8_0`; matrices whose rows are no whole number of its blocks as float16.

    Args:
        reshaped: shapes before ComfyUI's converter reshaped a weight.
    """
    writer = gguf.GGUFWriter(path, "sd")
    for name, tensor in weights.items():
        held = kind_of(tensor, kind)
        writer.add_tensor(name, gguf.quants.quantize(tensor.detach().float().numpy(), held), raw_dtype=held)
    for name, shape in (reshaped or {}).items():
        writer.add_array(f"comfy.gguf.orig_shape.{name}", list(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def kind_of(tensor: Tensor, kind: str) -> gguf.GGMLQuantizationType:
    """Return the type that a weight is written as."""
    wanted = gguf.GGMLQuantizationType[kind]
    if kind in ("F32", "BF16") or (tensor.dim() == 2 and tensor.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0):
        return wanted
    return gguf.GGMLQuantizationType.F32 if tensor.dim() < 2 else gguf.GGMLQuantizationType.F16


def as_read(tensor: Tensor, kind: str) -> Tensor:
    """Return a weight as the library that wrote the file reads it."""
    held = kind_of(tensor, kind)
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(tensor.detach().numpy(), held), held))


def dequantized(network: nn.Module) -> dict[str, Tensor]:
    """Return all weights of a network as float32."""
    weights = network.state_dict() | dict(network.named_parameters())
    return {name: dense(weight).detach().float() for name, weight in weights.items()}


def stability_weights(unet: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return the weights of a UNet by Stability AI's names."""
    named = {}
    for name, tensor in unet.state_dict().items():
        module, _, parameter = name.rpartition(".")
        named[f"{prefix}{unet_name(module, unet) or module}.{parameter}"] = tensor
    return named


def sd3_weights(transformer: Any) -> dict[str, Tensor]:
    """Return the weights of Stable Diffusion 3 by its authors' names: queries, keys and values are one."""
    named: dict[str, list[Tensor]] = {}
    last = f"transformer_blocks.{transformer.config.num_layers - 1}.norm1_context."
    for name, tensor in sorted(transformer.state_dict().items(), key=lambda item: _place(item[0])):
        if name.startswith((last, "norm_out.")):  # shift and scale have another order
            tensor = tensor.roll(tensor.shape[0] // 2, 0)
        module, _, parameter = name.rpartition(".")
        if match := re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", module):
            name = f"joint_blocks.{match[1]}.{_SD3_INNER[match[2]]}.{parameter}"
        else:
            name = _SD3_OUTER.get(name) or f"{_SD3_OUTER.get(module, module)}.{parameter}"
        named.setdefault(name, []).append(tensor)
    return {name: torch.cat(parts) for name, parts in named.items()}


def _place(name: str) -> int:
    match = re.search(r"\.(?:to|add)_([qkv])\b|\.add_([qkv])_proj", name)
    return "qkv".index(match[1] or match[2]) if match else 0
