"""Stable Diffusion 3 and 3.5: a rectified-flow transformer that joins text and image, with two CLIPs and maybe T5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.families.rectified_flow import RectifiedFlow
from flashbulb.hooks import GuidanceLayout


class StableDiffusion3(RectifiedFlow):
    """Pipelines of the shape of Stable Diffusion 3; the third text encoder, T5, may be absent."""

    title = "Stable Diffusion 3"
    network = ("transformer", "SD3Transformer2DModel")
    required = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
    tokenizers: ClassVar[Mapping[str, str]] = {
        "text_encoder": "tokenizer",
        "text_encoder_2": "tokenizer_2",
        "text_encoder_3": "tokenizer_3",
    }
    classes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
        "text_encoder": ("CLIPTextModelWithProjection",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "text_encoder_3": ("T5EncoderModel",),
    }
    pipeline = "StableDiffusion3Pipeline"
    image_to_image = "StableDiffusion3Img2ImgPipeline"
    guidance = GuidanceLayout.UNCONDITIONAL_FIRST

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        config = self.pipe.transformer.config
        return config.in_channels, config.sample_size, config.sample_size

    @torch.no_grad()
    def unconditional(self, n: int) -> Conditioning:
        sides = self.pipe.encode_prompt(*[""] * 3, device=self.device, do_classifier_free_guidance=False)  # all layers
        return Conditioning({"prompt_embeds": sides[0], "pooled_prompt_embeds": sides[2]}).repeat(n)

    def _evaluate(self, latents: Tensor, timestep: float | Tensor, conditioning: Conditioning) -> Tensor:
        velocity: Tensor = self.pipe.transformer(
            hidden_states=latents,
            timestep=self._times(timestep, len(latents)),
            encoder_hidden_states=conditioning.tensors["prompt_embeds"],
            pooled_projections=conditioning.tensors["pooled_prompt_embeds"],
            return_dict=False,
        )[0]
        return velocity


FAMILY = StableDiffusion3
