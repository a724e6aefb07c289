"""Networks at the size that people release, without weights: their sites are counted, and an evaluation runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from flashbulb.audit.model.families import open_denoiser
from flashbulb.hooks import SITE_KINDS
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


def test_sites_of_stable_diffusion_xl_are_counted_and_an_evaluation_runs() -> None:
    pipe = build_stable_diffusion_xl()
    assert sum(weight.numel() for weight in pipe.unet.parameters()) == 2_567_463_684
    denoiser = open_denoiser(pipe)
    sites = denoiser.sites(SITE_KINDS)
    neurons, layers = Counter[str](), Counter[str](site.kind for site in sites)
    for site in sites:
        neurons[site.kind] += site.n_neurons
    assert layers == {"text_mlp": 12 + 32} | dict.fromkeys(("cross_k", "cross_v", "cross_out", "feed_forward"), 70)
    assert (neurons["feed_forward"], neurons["text_mlp"]) == (332_800, 12 * 3072 + 32 * 5120)
    assert {neurons[kind] for kind in ("cross_k", "cross_v", "cross_out")} == {83_200}
    latents = torch.zeros(1, *denoiser.latent_shape, device="meta")
    with torch.no_grad():
        assert denoiser.predict(latents, 981, denoiser.unconditional(1)).native.shape == (1, 4, 128, 128)
