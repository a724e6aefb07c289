"""Write a pipeline as one checkpoint in Stability AI's layout; diffusers' own reader judges it in the tests."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashbulb.audit.additions.stability_names import autoencoder_name, unet_name

_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def checkpoint_of(pipe: Any, *, open_clip: bool = False) -> dict[str, Tensor]:
    """Return the weights as a checkpoint holds them, with the unused ones that such files have."""
    weights = {"betas": torch.zeros(3), "model_ema.decay": torch.zeros(()), "model_ema.some": torch.zeros(2)}
    for name, tensor in pipe.unet.state_dict().items():
        module, _, parameter = name.rpartition(".")
        weights[f"model.diffusion_model.{unet_name(module, pipe.unet) or module}.{parameter}"] = tensor
    n_blocks = len(pipe.vae.config.up_block_types)
    for name, tensor in pipe.vae.state_dict().items():
        module, _, parameter = name.rpartition(".")
        key = f"first_stage_model.{autoencoder_name(module, n_blocks)}.{parameter}"
        is_matrix = ".attn_1." in key and tensor.dim() == 2
        weights[key] = tensor[..., None, None] if is_matrix else tensor
    second = pipe.components.get("text_encoder_2")
    if second is not None:
        weights |= _clip("conditioner.embedders.0.transformer.", pipe.text_encoder)
        weights |= _open_clip("conditioner.embedders.1.model.", second)
    elif open_clip:
        weights |= _open_clip("cond_stage_model.model.", pipe.text_encoder)
    else:
        weights |= _clip("cond_stage_model.transformer.", pipe.text_encoder)
    return {key: tensor.detach().clone().contiguous() for key, tensor in weights.items()}


def _clip(prefix: str, encoder: Any) -> dict[str, Tensor]:
    weights = {f"{prefix}text_model.embeddings.position_ids": torch.arange(32)}
    for name, tensor in encoder.state_dict().items():
        weights[f"{prefix}text_model.{name.removeprefix('text_model.')}"] = tensor
    return weights


def _open_clip(prefix: str, encoder: Any) -> dict[str, Tensor]:
    state = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    weights = {
        f"{prefix}token_embedding.weight": state.pop("embeddings.token_embedding.weight"),
        f"{prefix}positional_embedding": state.pop("embeddings.position_embedding.weight"),
        f"{prefix}logit_scale": torch.zeros(()),
    }
    if "text_projection.weight" in state:
        weights[f"{prefix}text_projection"] = state.pop("text_projection.weight").T
    joined: dict[str, list[Tensor]] = {}
    for which in "qkv":
        for name in [name for name in state if f"{which}_proj." in name]:
            match = re.fullmatch(rf"encoder\.layers\.(\d+)\.self_attn\.{which}_proj\.(\w+)", name)
            key = f"{prefix}transformer.resblocks.{match[1]}.attn.in_proj_{match[2]}"
            joined.setdefault(key, []).append(state.pop(name))
    weights |= {key: torch.cat(thirds) for key, thirds in joined.items()}
    for name, tensor in state.items():
        if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(\w+)", name):
            name = f"transformer.resblocks.{match[1]}.{_OPEN_CLIP[match[2]]}.{match[3]}"
        weights[prefix + name.replace("final_layer_norm", "ln_final")] = tensor
    return weights


def configs_of(folder: Path, target: Path) -> Path:
    """Copy a pipeline folder without its weights."""
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors")))
