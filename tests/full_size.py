"""Networks at the size that people release, without weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.toy import build_toy_xl_pipe


def build_stable_diffusion_xl() -> Any:
    """Build the networks of Stable Diffusion XL base 1.0 without weights, on the meta device."""

    def text_config(width: int, n_layers: int) -> CLIPTextConfig:
        return CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=n_layers, projection_dim=width
        )

    pipe = build_toy_xl_pipe()
    pipe.vae.to("meta")
    with torch.device("meta"):
        pipe.text_encoder = CLIPTextModel(text_config(768, 12))
        pipe.text_encoder_2 = CLIPTextModelWithProjection(text_config(1280, 32))
        pipe.unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
    return pipe
