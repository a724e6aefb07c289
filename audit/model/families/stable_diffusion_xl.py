"""Stable Diffusion XL: a UNet that reads two text encoders, pooled text, and sizes of the image.

What guidance compares prompts with is the pipeline's own: zeros with `force_zeros_for_empty_prompt`, else the empty
prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from flashbulb.audit.images.distances import RgbImages
from flashbulb.audit.model.conditioning import Conditioning
from flashbulb.audit.model.denoiser import FEWEST_STEPS
from flashbulb.audit.model.errors import ModelError
from flashbulb.audit.model.families.stable_diffusion import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """Pipelines of the shape of Stable Diffusion XL's base model, distilled ones included.

    Raises:
        ModelError: the pipeline is a refiner, or as in `StableDiffusion`.
    """

    title = "Stable Diffusion XL"
    required = ("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
    incomplete = "; a refiner, which has one text encoder, only finishes images that another model began"
    tokenizers: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    classes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
    }
    pipeline = "StableDiffusionXLPipeline"
    image_to_image = "StableDiffusionXLImg2ImgPipeline"
    addition = "text_time"

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        if pipe.text_encoder is None or pipe.text_encoder_2 is None:
            raise ModelError(f"this pipeline lacks a text encoder of {self.title}{self.incomplete}")
        if pipe.vae.config.get("latents_mean") is not None:
            raise ModelError("this autoencoder has latents_mean, by which Flashbulb does not scale; audit it without")
        super().__init__(pipe, clip_skip)
        prepared = self.first_call([""], FEWEST_STEPS)["added_cond_kwargs"]
        self._time_ids: Tensor = prepared["time_ids"]  # [1, size]

    def _encode(self, prompts: Sequence[str], is_negative: bool = False) -> Conditioning:
        embeds, negative, pooled, pooled_negative = self.pipe.encode_prompt(
            list(prompts), None, self.device, 1, is_negative, clip_skip=self._clip_skip
        )
        if is_negative:
            return Conditioning({"prompt_embeds": negative, "pooled_prompt_embeds": pooled_negative})
        return Conditioning({"prompt_embeds": embeds, "pooled_prompt_embeds": pooled})

    def _added(self, conditioning: Conditioning) -> dict[str, Tensor]:
        pooled = conditioning.tensors["pooled_prompt_embeds"]
        return {"text_embeds": pooled, "time_ids": self._time_ids.expand(len(pooled), -1)}

    def encode_images(self, images: RgbImages) -> Tensor:
        with self._precise_autoencoder():
            return super().encode_images(images)

    def decode_latents(self, latents: Tensor) -> RgbImages:
        with self._precise_autoencoder():
            return super().decode_latents(latents)

    @contextmanager
    def _precise_autoencoder(self) -> Iterator[None]:
        """Run an autoencoder that overflows in float16 in float32 while the context is open, as the pipeline does."""
        vae = self.pipe.vae
        if vae.dtype != torch.float16 or not vae.config.force_upcast:
            yield
            return
        vae.to(dtype=torch.float32)
        try:
            yield
        finally:
            vae.to(dtype=torch.float16)


FAMILY = StableDiffusionXL
